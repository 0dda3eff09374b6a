package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// unixPrefix is how an address that is a unix socket begins.
const unixPrefix = "unix:"

// maxSocketPath is the longest path of a socket that every system takes, in bytes.
const maxSocketPath = 103

// listen opens a listener; none for an empty address.
func (s *host) listen(a address) error {
	if a.addr == "" {
		return nil
	}
	var l net.Listener
	var err error
	if path, ok := strings.CutPrefix(a.addr, unixPrefix); ok {
		l, err = listenUnix(path, s.cfg.SocketMode)
	} else {
		l, err = net.Listen("tcp", a.addr)
	}
	if err != nil {
		return fmt.Errorf("%s: %w; choose another address, or stop what listens there", a.flag, err)
	}
	s.listeners = append(s.listeners, l)
	s.onClose(func(context.Context) error {
		l.Close() // a second time where it was served
		return nil
	})
	return nil
}

// listenUnix listens on the socket at path, with the mode that says who may connect. A
// socket that nobody listens on, as a kill leaves behind, is replaced.
func listenUnix(path string, mode os.FileMode) (net.Listener, error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s exists and is not a socket", path)
	default:
		c, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			c.Close()
			return nil, fmt.Errorf("%s: another program listens there", path)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, err
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// A boundListener accepts at most a number of connections at the same time. Those
// beyond wait in the system's queue, without a descriptor, until one is closed.
type boundListener struct {
	net.Listener
	name   string
	logged seldom
	slots  chan struct{}
	done   chan struct{}
	close  sync.Once

	open   atomic.Int64
	full   atomic.Int64 // how often the bound was reached
	faults atomic.Int64 // accepts that failed
}

func (s *host) bound(l net.Listener, name string, most int) net.Listener {
	b := &boundListener{Listener: l, name: name, logged: seldom{logger: s.logger}, slots: make(chan struct{}, most), done: make(chan struct{})}
	s.bounds = append(s.bounds, b)
	return b
}

func (l *boundListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	default:
		l.full.Add(1)
		l.logged.warn("all connections are taken; others wait until one is closed (--max-connections)", "listener", l.name, "connections", cap(l.slots))
		select {
		case l.slots <- struct{}{}:
		case <-l.done:
			return nil, net.ErrClosed
		}
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		if !errors.Is(err, net.ErrClosed) {
			l.faults.Add(1)
			l.logged.warn("a connection could not be accepted", "listener", l.name, "error", err)
		}
		return nil, err
	}
	l.open.Add(1)
	return newPatientConn(c.(streamConn), func() {
		l.open.Add(-1)
		<-l.slots
	}), nil
}

func (l *boundListener) Close() error {
	l.close.Do(func() { close(l.done) })
	return l.Listener.Close()
}
