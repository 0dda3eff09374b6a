package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsCommand is the hidden argument with which this program starts itself as
// a NATS server.
const natsCommand = "nats-server-of-the-fleet"

// A natsNode is a NATS server in a process of its own, one of a cluster.
type natsNode struct {
	process
	port int
}

func (n *natsNode) addr() string { return fmt.Sprintf("127.0.0.1:%d", n.port) }

// newNATS prepares a cluster of three servers, which keep their streams in dir.
func newNATS(dir string) ([]*natsNode, error) {
	const size = 3
	ports, err := freePorts(2 * size)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var routes []string
	for _, port := range ports[size:] {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", port))
	}
	nodes := make([]*natsNode, size)
	for i := range nodes {
		name := fmt.Sprintf("nats-%d", i+1)
		nodes[i] = &natsNode{port: ports[i], process: process{
			name: name, path: self, log: filepath.Join(dir, name+".log"),
			args: []string{
				natsCommand, name, filepath.Join(dir, name),
				fmt.Sprint(ports[i]), fmt.Sprint(ports[size+i]), strings.Join(routes, ","),
			},
			ready: func(line string) bool { return line == "ready" },
		}}
	}
	return nodes, nil
}

// serveNATS is the program as a NATS server. It ends when its standard input
// does, so that none is left when the program that started it is gone.
func serveNATS(args []string) error {
	if len(args) != 5 {
		return errors.New("this argument is for the program itself")
	}
	opts := &server.Options{
		ServerName: args[0], StoreDir: args[1], JetStream: true, Host: "127.0.0.1", NoSigs: true,
		JetStreamMaxMemory: 256 << 20, JetStreamMaxStore: 4 << 30,
		Cluster: server.ClusterOpts{
			Name: "fleet", Host: "127.0.0.1",
			NoAdvertise: true, // clients know the servers, and the tests put proxies before them
		},
		Routes: server.RoutesFromStr(args[4]),
	}
	if _, err := fmt.Sscan(args[2]+" "+args[3], &opts.Port, &opts.Cluster.Port); err != nil {
		return err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	srv.ConfigureLogger()
	srv.Start()
	if !srv.ReadyForConnections(20 * time.Second) {
		return fmt.Errorf("%s is not ready for connections", args[0])
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, bufio.NewReader(os.Stdin))
	srv.Shutdown()
	return err
}

// freePorts returns ports that nobody listens on. They are lower than those that
// systems give to outgoing connections, so that a server that was killed finds
// its own free again.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range 100 * n {
		port := 12000 + rand.IntN(18000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer l.Close()
		ports = append(ports, port)
		if len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free ports on 127.0.0.1 between 12000 and 30000")
}

// connectNATS returns a connection to the cluster for this program's own
// questions.
func connectNATS(nodes []*natsNode) (jetstream.JetStream, error) {
	var urls []string
	for _, n := range nodes {
		urls = append(urls, "nats://"+n.addr())
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(100*time.Millisecond), nats.Timeout(2*time.Second), nats.IgnoreDiscoveredServers())
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return js, nil
}

// clusterReady waits until the cluster answers questions about JetStream, for
// which it needs a leader.
func clusterReady(ctx context.Context, js jetstream.JetStream) error {
	return poll(ctx, 50*time.Millisecond, "the NATS cluster to have a leader", func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := js.AccountInfo(ctx)
		return err
	})
}

// streamLeader waits until the stream has a leader, and returns its name.
func streamLeader(ctx context.Context, js jetstream.JetStream, stream string) (name string, err error) {
	err = poll(ctx, 50*time.Millisecond, "the leader of "+stream, func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		s, err := js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		if c := s.CachedInfo().Cluster; c != nil {
			name = c.Leader
		}
		if name == "" {
			return errors.New("it has none")
		}
		return nil
	})
	return name, err
}

// poll calls f until it returns nil or ctx ends.
func poll(ctx context.Context, every time.Duration, what string, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (%w)", what, ctx.Err(), err)
		case <-time.After(every):
		}
	}
}
