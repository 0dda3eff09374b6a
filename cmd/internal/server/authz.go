package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/ipallow/ipallow/cmd/internal/extauthz"
	"github.com/ipallow/ipallow/cmd/internal/gateway"
)

// maxAuthzMessage bounds a question of Envoy's: a request's header, and no
// body, which Envoy sends only where it is told to.
const maxAuthzMessage = 256 << 10

// serveAuthz answers Envoy on l until Close.
func (s *host) serveAuthz(l net.Listener) {
	srv := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxAuthzMessage),
		grpc.ConnectionTimeout(readHeaderTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 30 * time.Minute}),
	)
	extauthz.New(s.gateway).Register(srv)
	l = s.bound(l, "ext_authz", s.cfg.budget(descriptors()).management)
	s.servers = append(s.servers, grpcServer{srv})
	go func() {
		if err := srv.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.failed <- fmt.Errorf("ext_authz: %w", err)
		}
	}()
}

// grpcServer is a grpc.Server as a stopper.
type grpcServer struct{ *grpc.Server }

func (s grpcServer) Shutdown(ctx context.Context) error {
	done := make(chan struct{})
	go func() { s.GracefulStop(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s grpcServer) Close() error { s.Stop(); return nil }

// observe is the gateway's hook.
func (s *host) observe(e gateway.Event) {
	s.metrics.observe(e)
}
