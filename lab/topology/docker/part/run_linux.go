package part

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mesh-lab/mesh-lab/lab/topology/docker/capture"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/hold"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/names"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/plane"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/tunnel"
)

// settle gives this name space its address on the lab's network, beside Docker's own, which goes on
// to carry what is published. Everything else is on the same wire: pods, Services without a
// sidecar's help, clients from outside find each other by ARP. What nobody has is not reached, and
// nothing leaves the machine. With mac the interface is the address's own, so that who takes a
// pod's place is found at once.
func settle(ip netip.Addr, mac bool, more ...netip.Addr) error {
	link, err := wire()
	if err != nil {
		return err
	}
	if mac {
		b := ip.As4()
		hw := net.HardwareAddr{0x02, 0x6d, b[0], b[1], b[2], b[3]}
		if err := netlink.LinkSetHardwareAddr(link, hw); err != nil {
			return fmt.Errorf("hardware address of %s: %w", link.Attrs().Name, err)
		}
	}
	for _, a := range append([]netip.Addr{ip}, more...) {
		net := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}
		err := netlink.AddrAdd(link, &netlink.Addr{IPNet: net})
		if err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	_, all, _ := net.ParseCIDR("0.0.0.0/0")
	err = netlink.RouteReplace(&netlink.Route{
		LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: all, Src: ip.AsSlice(),
	})
	if err != nil {
		return fmt.Errorf("route: %w", err)
	}
	return nil
}

// wire is the interface that Docker has made: its name is not always the same.
func wire() (netlink.Link, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if l.Attrs().Flags&net.FlagLoopback == 0 && l.Attrs().OperState == netlink.OperUp {
			return l, nil
		}
	}
	return nil, errors.New("this container has no network")
}

// now is the machine's monotonic clock, which all containers share.
func now(context.Context, []byte) (any, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return nil, err
	}
	return t.Nano(), nil
}

// call makes a function of JSON of one of values.
func call[In any](f func(In) (any, error)) func(context.Context, []byte) (any, error) {
	return func(_ context.Context, text []byte) (any, error) {
		var in In
		if err := json.Unmarshal(text, &in); err != nil {
			return nil, err
		}
		return f(in)
	}
}

// calls are those that every agent has: what the kernel can be told in its name space.
func calls() map[string]func(context.Context, []byte) (any, error) {
	mono := func() int64 {
		at, _ := now(context.Background(), nil) // the clock is there
		return at.(int64)
	}
	book, holder := capture.NewBook(mono), hold.New(mono)
	return map[string]func(context.Context, []byte) (any, error){
		"now":  now,
		"ping": func(context.Context, []byte) (any, error) { return true, nil },
		"vips": call(func(list []capture.VIP) (any, error) {
			return true, capture.SetVIPs(list)
		}),
		"break":        call(func(f capture.Fault) (any, error) { return true, book.Set(f) }),
		"heal":         call(func(id string) (any, error) { return book.Clear(id) }),
		"able to hold": func(context.Context, []byte) (any, error) { return true, hold.Able() },
		"hold":         call(func(f hold.Fault) (any, error) { return true, holder.Set(f) }),
		"held":         call(func(id string) (any, error) { return holder.Count(id) }),
		"release":      call(func(id string) (any, error) { return true, holder.Heal(id) }),
		"count":        call(func(id string) (any, error) { return book.Count(id) }),
		"lookup": func(ctx context.Context, text []byte) (any, error) {
			var name string
			if err := json.Unmarshal(text, &name); err != nil {
				return nil, err
			}
			return net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
		},
		"faults": func(context.Context, []byte) (any, error) { return book.List() },
	}
}

// hub is the lab's door.
func hub(ctx context.Context, c Hub, log *slog.Logger) error {
	if err := settle(c.IP, false, c.Outside); err != nil {
		return err
	}
	if err := resolveAs("default"); err != nil {
		return err
	}
	s := &tunnel.Server{Token: c.Token, Outside: c.Outside, AgentPort: AgentPort, Calls: calls()}
	in := map[string]net.Listener{}
	for op, port := range map[string]uint16{
		tunnel.OpRecords: RecordsPort, tunnel.OpReports: ReportsPort,
	} {
		l, err := listen(ctx, netip.AddrPortFrom(c.IP, port))
		if err != nil {
			return err
		}
		in[op] = l
	}
	l, err := listen(ctx, netip.AddrPortFrom(netip.IPv4Unspecified(), HubPort))
	if err != nil {
		return err
	}
	log.Info("the lab's door is open", "at", l.Addr())
	return s.ServeHub(ctx, l, in)
}

func listen(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, "tcp4", at.String())
}

// resolveAs has names resolved as pods of a namespace do, as in Kubernetes. The file is one that
// Docker lends: all containers of a pod see what is written into it.
func resolveAs(namespace string) error {
	net.DefaultResolver.PreferGo = true
	return os.WriteFile("/etc/resolv.conf", fmt.Appendf(nil, "nameserver %s\n"+
		"search %s.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n",
		DNSIP, namespace), 0o644)
}

// pod has a pod's network, and is its agent. It listens when everything is set up.
func pod(ctx context.Context, c Pod, log *slog.Logger) error {
	if err := settle(c.IP, true); err != nil {
		return err
	}
	if err := resolveAs(c.Namespace); err != nil {
		return err
	}
	if c.Capture != nil {
		if err := capture.Install(c.Capture); err != nil {
			return fmt.Errorf("capture: %w", err)
		}
	}
	l, err := listen(ctx, netip.AddrPortFrom(c.IP, AgentPort))
	if err != nil {
		return err
	}
	log.Info("ready", "pod", c.Name, "address", c.IP)
	s := &tunnel.Server{Token: c.Token, Calls: calls()}
	return s.ServeAgent(ctx, l)
}

// control is the control plane.
func control(ctx context.Context, c Control, _ *slog.Logger) error {
	if err := settle(c.IP, true); err != nil {
		return err
	}
	ads, err := listen(ctx, netip.AddrPortFrom(c.IP, ControlPort))
	if err != nil {
		return err
	}
	lab, err := listen(ctx, netip.AddrPortFrom(c.IP, ControlLabPort))
	if err != nil {
		return err
	}
	return plane.New(c.Token).Serve(ctx, ads, lab)
}

// dns answers the names of the lab.
func dns(ctx context.Context, c DNS, _ *slog.Logger) error {
	if err := settle(c.IP, true); err != nil {
		return err
	}
	s := names.New(func() int64 {
		at, _ := now(ctx, nil) // the clock is there
		return at.(int64)
	})
	all := calls()
	all["names"] = call(func(t names.Table) (any, error) { s.Set(t); return true, nil })
	all["dns break"] = call(func(f names.Fault) (any, error) { s.Break(f); return true, nil })
	all["dns heal"] = call(func(id string) (any, error) { return s.Heal(id), nil })
	all["dns count"] = call(func(id string) (any, error) { return s.Count(id) })
	all["dns faults"] = func(context.Context, []byte) (any, error) { return s.Faults(), nil }
	l, err := listen(ctx, netip.AddrPortFrom(c.IP, AgentPort))
	if err != nil {
		return err
	}
	agent := &tunnel.Server{Token: c.Token, Calls: all}
	go agent.ServeAgent(ctx, l) //nolint:errcheck // it ends with the process
	return s.Serve(ctx, netip.AddrPortFrom(c.IP, 53))
}
