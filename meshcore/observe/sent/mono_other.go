//go:build !unix

package sent

func monotonic() int64 { return 0 }
