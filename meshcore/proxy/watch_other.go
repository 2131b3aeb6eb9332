//go:build !linux

package proxy

func (p *Proxy) newWatcher() watcher { return portable{} }
