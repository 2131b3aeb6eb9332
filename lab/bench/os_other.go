//go:build !linux

package main

import (
	"os"
	"os/exec"
	"time"
)

// runOn: only Linux lets a program choose its core.
func runOn(int) error { return nil }

// replace runs another program in the place of this one.
func replace(path string, args []string) error {
	c := exec.Command(path, args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	return c.Run()
}

func loadAverage() string { return "" }

func cpu(int) (time.Duration, bool) { return 0, false }

func rss(int) (int64, bool) { return 0, false }

func memoryOf(int) (memory, bool) { return memory{}, false }

func children() int64 { return 0 }
