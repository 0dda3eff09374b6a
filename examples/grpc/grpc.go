// Package grpc enforces allowlists in a gRPC server, for unary calls and
// streams.
//
//	grpc.NewServer(
//		grpc.ChainUnaryInterceptor(authenticateUnary, allow.Unary),
//		grpc.ChainStreamInterceptor(authenticateStream, allow.Stream),
//	)
package grpc

import (
	"context"
	"errors"
	"net"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
)

// An Allowlist is a pair of interceptors. Authentication stands before it in the
// chain and puts the key's identifier into the context, where the function key
// finds it. A call without a key is refused with Unauthenticated, one from a
// foreign address with PermissionDenied and an ErrorInfo whose reason is
// IP_NOT_ALLOWED. While the engine waits for its first load a call is answered with
// Unavailable, the reason NOT_READY and a RetryInfo of one second.
//
// All methods may be called from any number of goroutines.
type Allowlist struct {
	engine  *ipallow.Engine
	source  *clientip.Source
	key     func(context.Context) (string, bool)
	denied  error
	unready error
}

// New returns an Allowlist. A nil source takes the TCP peer.
func New(engine *ipallow.Engine, source *clientip.Source, key func(context.Context) (string, bool)) (*Allowlist, error) {
	if engine == nil || key == nil {
		return nil, errors.New("grpc: give New an engine and a key function")
	}
	denied, err := status.New(codes.PermissionDenied, "Request IP address is not in the API key's allowlist").
		WithDetails(&errdetails.ErrorInfo{Reason: "IP_NOT_ALLOWED", Domain: "ipallow"})
	if err != nil {
		return nil, err
	}
	unready, err := status.New(codes.Unavailable, "The server has not loaded its IP allowlists yet; try again in a moment").
		WithDetails(&errdetails.ErrorInfo{Reason: "NOT_READY", Domain: "ipallow"},
			&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	if err != nil {
		return nil, err
	}
	return &Allowlist{engine: engine, source: source, key: key, denied: denied.Err(), unready: unready.Err()}, nil
}

// Unary is a grpc.UnaryServerInterceptor.
func (a *Allowlist) Unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := a.check(ctx); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

// Stream is a grpc.StreamServerInterceptor. The verdict is given once, when the
// stream begins.
func (a *Allowlist) Stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := a.check(stream.Context()); err != nil {
		return err
	}
	return handler(srv, stream)
}

func (a *Allowlist) check(ctx context.Context) error {
	key, ok := a.key(ctx)
	if !ok || key == "" {
		return status.Error(codes.Unauthenticated, "Request has no valid API key")
	}
	snapshot := a.engine.Snapshot()
	switch {
	case snapshot.Check(key, a.client(ctx).Addr).OK():
		return nil
	case !snapshot.Loaded():
		return a.unready
	}
	return a.denied
}

// client returns the address of the caller. The metadata is read only where the
// peer is a trusted proxy.
func (a *Allowlist) client(ctx context.Context) clientip.Result {
	remote := "" // a peer without an address
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil && !isUnix(p.Addr) && !isUnix(p.LocalAddr) {
		remote = p.Addr.String()
	}
	return a.source.FromValues(remote, metadata.ValueFromIncomingContext(ctx, a.source.Header()))
}

// isUnix says that addr is of a unix socket. The name that a local process gives
// its own end may read like an IP address.
func isUnix(addr net.Addr) bool {
	_, unix := addr.(*net.UnixAddr)
	return unix
}
