package hold

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// queue is one of the kernel's queues of packets that wait for a verdict
// (linux/netfilter/nfnetlink_queue.h), in the namespace that it was opened in.
type queue struct {
	num uint16
	f   *os.File
}

// Messages, their attributes and commands.
const (
	subsystem  = 3 << 8 // NFNL_SUBSYS_QUEUE
	msgPacket  = subsystem
	msgVerdict = subsystem | 1
	msgConfig  = subsystem | 2

	attrPacketHeader  = 1
	attrVerdictHeader = 2
	attrPayload       = 10

	configCommand = 1
	configParams  = 2
	configLength  = 3

	commandBind = 1
	copyPacket  = 2
)

// What a queue takes: packets in the kernel, bytes of messages that were not read.
const (
	longestQueue = 1 << 16
	queueBuffer  = 8 << 20
)

// openQueue opens a queue, and has the kernel know who decides about it.
func openQueue(num uint16) (*queue, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK,
		unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("queue of packets: %w", err)
	}
	q := &queue{num, os.NewFile(uintptr(fd), "nfqueue")}
	//nolint:errcheck // the kernel's own bound is enough for most
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queueBuffer)
	params := binary.BigEndian.AppendUint32(nil, 0xffff)
	for _, m := range [][]byte{
		attribute(configCommand, []byte{commandBind, 0, 0, unix.AF_INET}),
		attribute(configParams, append(params, copyPacket)),
		attribute(configLength, binary.BigEndian.AppendUint32(nil, longestQueue)),
	} {
		if err = q.send(msgConfig, unix.NLM_F_ACK, m); err == nil {
			err = q.acknowledged()
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("queue of packets: %w", err), q.f.Close())
		}
	}
	return q, nil
}

// attribute is one of a message.
func attribute(kind uint16, data []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), data...)
	return append(b, make([]byte, -len(b)&3)...)
}

// send sends a message about the queue.
func (q *queue) send(kind, flags uint16, attributes []byte) error {
	b := binary.NativeEndian.AppendUint32(nil, uint32(20+len(attributes)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = append(b, make([]byte, 8)...) // sequence, port
	b = append(b, unix.AF_INET, 0)
	b = binary.BigEndian.AppendUint16(b, q.num)
	_, err := q.f.Write(append(b, attributes...))
	return err
}

// acknowledged reads the kernel's answer to a message that changes something. Packets may come
// before: of those the kernel lets none pass without a verdict.
func (q *queue) acknowledged() error {
	buf := make([]byte, messageSize)
	for {
		n, err := q.f.Read(buf)
		if err != nil {
			return err
		}
		for kind, body := range messages(buf[:n]) {
			if kind == unix.NLMSG_ERROR && len(body) >= 4 {
				if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
					return unix.Errno(-code)
				}
				return nil
			}
		}
	}
}

// messageSize is what the longest packet and what is said of it need.
const messageSize = 1<<16 + 1<<12

// messages takes apart what was read at once.
func messages(b []byte) func(func(kind uint16, body []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 16 {
			n := int(binary.NativeEndian.Uint32(b))
			if n < 16 || n > len(b) || !yield(binary.NativeEndian.Uint16(b[4:]), b[16:n]) {
				return
			}
			b = b[min(len(b), (n+3)&^3):]
		}
	}
}

// read reads packets until the kernel has answered done, or the queue is closed.
func (q *queue) read(take func(id uint32, packet []byte)) {
	buf := make([]byte, messageSize)
	for {
		n, err := q.f.Read(buf)
		if errors.Is(err, unix.ENOBUFS) { // some packets came too fast, and were dropped
			continue
		}
		if err != nil {
			return
		}
		for kind, body := range messages(buf[:n]) {
			if kind == unix.NLMSG_ERROR && len(body) >= 4 &&
				binary.NativeEndian.Uint32(body) == 0 {
				return
			}
			if kind == msgPacket && len(body) > 4 {
				if id, p, ok := parsePacket(body[4:]); ok {
					take(id, p)
				}
			}
		}
	}
}

// parsePacket finds a packet and its number among attributes.
func parsePacket(b []byte) (id uint32, packet []byte, ok bool) {
	for len(b) >= 4 {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			return 0, nil, false
		}
		switch binary.NativeEndian.Uint16(b[2:]) &^ unix.NLA_F_NESTED {
		case attrPacketHeader:
			if n >= 8 {
				id, ok = binary.BigEndian.Uint32(b[4:]), true
			}
		case attrPayload:
			packet = append([]byte(nil), b[4:n]...)
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return id, packet, ok
}

// done has read return when what came before is read.
func (q *queue) done() error {
	return q.send(msgConfig, unix.NLM_F_ACK,
		attribute(configLength, binary.BigEndian.AppendUint32(nil, longestQueue)))
}

// decide tells the kernel what becomes of a packet.
func (q *queue) decide(v verdict) {
	code := uint32(1) // NF_ACCEPT
	if v.drop {
		code = 0
	}
	head := binary.BigEndian.AppendUint32(nil, code)
	m := attribute(attrVerdictHeader, binary.BigEndian.AppendUint32(head, v.id))
	if v.seg != nil {
		m = append(m, attribute(attrPayload, v.seg)...)
	}
	q.send(msgVerdict, 0, m) //nolint:errcheck // the queue is closed: the kernel has let it pass
}

func (q *queue) close() error { return q.f.Close() }
