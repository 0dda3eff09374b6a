package grpc_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	example "github.com/ipallow/ipallow/examples/grpc"
	"github.com/ipallow/ipallow/examples/internal/auth"
	"github.com/ipallow/ipallow/examples/internal/check"
)

type keyID struct{}

func keyFrom(ctx context.Context) (string, bool) {
	id, ok := ctx.Value(keyID{}).(string)
	return id, ok
}

func authenticate(ctx context.Context) (context.Context, error) {
	for _, value := range metadata.ValueFromIncomingContext(ctx, "authorization") {
		if id, ok := auth.Identify(value); ok {
			return context.WithValue(ctx, keyID{}, id), nil
		}
	}
	return nil, status.Error(codes.Unauthenticated, "unknown key")
}

func authenticateUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, err := authenticate(ctx)
	if err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

type authenticated struct {
	grpc.ServerStream
	ctx context.Context
}

func (s authenticated) Context() context.Context { return s.ctx }

func authenticateStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, err := authenticate(stream.Context())
	if err != nil {
		return err
	}
	return handler(srv, authenticated{stream, ctx})
}

// start serves the health service with the interceptors and returns its address.
func start(t *testing.T, opts *clientip.Options, chain bool) string {
	return startEngine(t, check.Engine(t), opts, chain)
}

func startEngine(t *testing.T, engine *ipallow.Engine, opts *clientip.Options, chain bool) string {
	source, err := clientip.New(opts)
	require.NoError(t, err)
	allow, err := example.New(engine, source, keyFrom)
	require.NoError(t, err)
	unary, stream := []grpc.UnaryServerInterceptor{allow.Unary}, []grpc.StreamServerInterceptor{allow.Stream}
	if chain {
		unary = append([]grpc.UnaryServerInterceptor{authenticateUnary}, unary...)
		stream = append([]grpc.StreamServerInterceptor{authenticateStream}, stream...)
	}
	server := grpc.NewServer(grpc.ChainUnaryInterceptor(unary...), grpc.ChainStreamInterceptor(stream...))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	listener := check.Listen(t)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-done)
	})
	return listener.Addr().String()
}

// call makes one unary call and opens one stream, and demands the same answer.
func call(t *testing.T, target, ip string, md ...string) error {
	conn, err := grpc.NewClient("passthrough:///"+target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return check.Dialer(ip).DialContext(ctx, "tcp", addr)
		}))
	require.NoError(t, err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, md...)
	client := grpc_health_v1.NewHealthClient(conn)
	_, unary := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	watch, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	_, stream := watch.Recv()
	require.Equal(t, status.Code(unary), status.Code(stream), "unary: %v, stream: %v", unary, stream)
	return unary
}

func TestInterceptors(t *testing.T) {
	check.NeedLoopback(t)
	direct := start(t, nil, true)
	proxied := start(t, &clientip.Options{
		Mode:           clientip.XForwardedFor,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")},
	}, true)
	unchained := start(t, nil, false)
	const key1, key2 = "Bearer secret-1", "Bearer secret-2"
	for _, test := range []struct {
		reason, target, ip string
		md                 []string
		code               codes.Code
	}{
		{"an unknown key", direct, check.Outside, []string{"authorization", "Bearer wrong"}, codes.Unauthenticated},
		{"no key", direct, check.Inside, nil, codes.Unauthenticated},
		{"authentication was forgotten", unchained, check.Inside, []string{"authorization", key1}, codes.Unauthenticated},
		{"an address on the list", direct, check.Inside, []string{"authorization", key1}, codes.OK},
		{"a foreign address", direct, check.Outside, []string{"authorization", key1}, codes.PermissionDenied},
		{"a key without list", direct, check.Outside, []string{"authorization", key2}, codes.OK},
		{"metadata of a peer is not read", direct, check.Outside, []string{"authorization", key1, "x-forwarded-for", check.Inside}, codes.PermissionDenied},
		{"behind a proxy", proxied, "127.0.0.9", []string{"authorization", key1, "x-forwarded-for", check.Inside}, codes.OK},
		{"behind a proxy, forged to the left", proxied, "127.0.0.9", []string{"authorization", key1, "x-forwarded-for", check.Inside, "x-forwarded-for", check.Outside}, codes.PermissionDenied},
		{"past the proxy", proxied, check.Outside, []string{"authorization", key1, "x-forwarded-for", check.Inside}, codes.PermissionDenied},
		{"a proxy that says nothing", proxied, "127.0.0.9", []string{"authorization", key1}, codes.PermissionDenied},
		{"a proxy that says nothing, no list", proxied, "127.0.0.9", []string{"authorization", key2}, codes.OK},
	} {
		t.Run(test.reason, func(t *testing.T) {
			err := call(t, test.target, test.ip, test.md...)
			require.Equal(t, test.code, status.Code(err), "%v", err)
			if test.code == codes.PermissionDenied {
				details := status.Convert(err).Details()
				require.Len(t, details, 1)
				require.Equal(t, "IP_NOT_ALLOWED", details[0].(*errdetails.ErrorInfo).Reason)
			}
		})
	}
}

// Before the first load the list has nothing to do with it, and a client may retry.
func TestNotReady(t *testing.T) {
	target := startEngine(t, ipallow.New(&ipallow.Options{DenyUntilLoaded: true}), nil, true)
	for _, key := range []string{"Bearer secret-1", "Bearer secret-2"} {
		err := call(t, target, "127.0.0.1", "authorization", key)
		require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
		details := status.Convert(err).Details()
		require.Len(t, details, 2)
		require.Equal(t, "NOT_READY", details[0].(*errdetails.ErrorInfo).Reason)
		require.Equal(t, time.Second, details[1].(*errdetails.RetryInfo).RetryDelay.AsDuration())
	}
	err := call(t, target, "127.0.0.1", "authorization", "Bearer wrong")
	require.Equal(t, codes.Unauthenticated, status.Code(err), "%v", err)
}

// A peer on a unix socket has no address, whatever name it gives its own end.
func TestUnixSocket(t *testing.T) {
	allow, err := example.New(check.Engine(t), nil, keyFrom)
	require.NoError(t, err)
	unix := &net.UnixAddr{Net: "unix", Name: check.Inside + ":80"}
	forged := &net.TCPAddr{IP: net.ParseIP(check.Inside), Port: 80}
	for _, test := range []struct {
		reason     string
		peer       *peer.Peer
		key1, key2 codes.Code
	}{
		{"a TCP peer", &peer.Peer{Addr: forged, LocalAddr: forged}, codes.OK, codes.OK},
		{"a unix peer with the name of an address", &peer.Peer{Addr: unix, LocalAddr: unix}, codes.PermissionDenied, codes.OK},
		{"a unix socket, as the local end tells", &peer.Peer{Addr: forged, LocalAddr: unix}, codes.PermissionDenied, codes.OK},
		{"a peer without address", &peer.Peer{}, codes.PermissionDenied, codes.OK},
	} {
		for key, want := range map[string]codes.Code{"key_1": test.key1, "key_2": test.key2} {
			ctx := context.WithValue(peer.NewContext(t.Context(), test.peer), keyID{}, key)
			_, err := allow.Unary(ctx, nil, nil, func(context.Context, any) (any, error) { return nil, nil })
			require.Equal(t, want, status.Code(err), "%s, %s", test.reason, key)
		}
	}
}

func TestNewRefusesNil(t *testing.T) {
	_, err := example.New(nil, nil, keyFrom)
	require.Error(t, err)
	_, err = example.New(check.Engine(t), nil, nil)
	require.Error(t, err)
}
