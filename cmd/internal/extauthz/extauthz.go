// Package extauthz answers Envoy's external authorization (ext_authz, gRPC, API
// v3) with the decisions of a gateway.
//
//	server := grpc.NewServer()
//	extauthz.New(gate).Register(server)
//	err := server.Serve(listener)
//
// Whoever can reach the listener can ask about any address, so it belongs on
// loopback or on a network that only Envoy is in; there is no other check of the
// peer.
//
// # Client address
//
// Envoy says in attributes.source.address who opened the connection to it. That
// address takes the place of the TCP peer: it is the client, unless it is one of
// the trusted proxies of the gateway's [clientip.Source], such as a load balancer
// in front of Envoy. Then the header that the Source reads is walked, as Envoy
// received it. Envoy's own X-Forwarded-For settings (use_remote_address,
// xff_num_trusted_hops) do not change source.address, and with use_remote_address
// Envoy appends the load balancer's address, which the walk passes over.
//
// # What Envoy is told
//
// Allowed: the upstream gets X-Ipallow-Key-Id, X-Ipallow-Client and X-Request-Id, and
// the client's address as X-Forwarded-For and X-Real-IP. The key, the session of the
// settings page and every header that package claims names are removed, except
// X-Forwarded-Proto, which Envoy sets itself. Refused: status, header and body are
// those of the gateway. Either way the client gets X-Request-Id.
//
// A request is recorded with the method and path that Envoy received, and with
// status 204 where it was let through.
package extauthz

import (
	"context"
	"net/http"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"golang.org/x/net/http/httpguts"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/ipallow/ipallow/cmd/internal/claims"
	"github.com/ipallow/ipallow/cmd/internal/gateway"
	"github.com/ipallow/ipallow/usagelog"
)

// A Service answers Envoy. It may be used from any number of goroutines.
type Service struct {
	authv3.UnimplementedAuthorizationServer
	gate *gateway.Gateway
}

// New returns a Service that decides and records by gate.
func New(gate *gateway.Gateway) *Service { return &Service{gate: gate} }

// Register adds the service to a gRPC server.
func (s *Service) Register(server grpc.ServiceRegistrar) {
	authv3.RegisterAuthorizationServer(server, s)
}

// Check implements the service. It never returns an error, so that nothing
// depends on failure_mode_allow: what Envoy left out is taken for absent, which
// refuses.
func (s *Service) Check(_ context.Context, request *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	attributes := request.GetAttributes()
	original := attributes.GetRequest().GetHttp()
	head := newHeader(original)
	source := s.gate.Source()
	client := source.FromValues(peer(attributes.GetSource()), head.Values(source.Header()))
	record := usagelog.Record{
		Time:       time.Now(),
		RequestID:  gateway.NewRequestID(),
		Method:     original.GetMethod(),
		Path:       gateway.OriginalPath(original.GetPath()),
		ClientAddr: client.Addr,
	}
	method := record.Method
	if method != "" && !httpguts.ValidHeaderFieldName(method) {
		method, record.Method = "", "(unknown)"
	}
	d := s.gate.Admit(gateway.Call{Header: head, Method: method, Client: client, Time: record.Time})
	d.Note(&record)
	var response *authv3.CheckResponse
	if d.Refusal != nil {
		record.Status = d.Refusal.Status
		response = refused(d.Refusal, record.RequestID)
	} else {
		record.Status = http.StatusNoContent
		response = allowed(head, &record)
	}
	s.gate.Record(&record, gateway.ExtAuthz, d.Measured)
	return response, nil
}

// peer returns the address of Envoy's peer in the form of http.Request.RemoteAddr.
func peer(p *authv3.AttributeContext_Peer) string {
	switch a := p.GetAddress().GetAddress().(type) {
	case *corev3.Address_SocketAddress:
		if text := a.SocketAddress.GetAddress(); text != "" {
			return text
		}
	case *corev3.Address_Pipe:
		return "" // a unix socket
	}
	return "unknown"
}

func refused(a *gateway.Answer, id string) *authv3.CheckResponse {
	code := codes.PermissionDenied
	switch a.Status {
	case http.StatusUnauthorized:
		code = codes.Unauthenticated
	case http.StatusServiceUnavailable:
		code = codes.Unavailable
	}
	denied := &authv3.DeniedHttpResponse{
		Status:  &typev3.HttpStatus{Code: typev3.StatusCode(a.Status)}, // #nosec G115 -- 401, 403, 405 or 503
		Headers: []*corev3.HeaderValueOption{set("x-request-id", id)},
		Body:    a.Body,
	}
	for name, value := range a.Header {
		denied.Headers = append(denied.Headers, set(name, value))
	}
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(code), Message: a.Code}, // #nosec G115 -- a small number
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied},
	}
}

func allowed(head *header, r *usagelog.Record) *authv3.CheckResponse {
	id := set("x-request-id", r.RequestID)
	ok := &authv3.OkHttpResponse{
		Headers:              []*corev3.HeaderValueOption{set(keyHeader, r.KeyID), id},
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{id},
	}
	if r.ClientAddr.IsValid() {
		text := r.ClientAddr.String()
		ok.Headers = append(ok.Headers, set(clientHeader, text), set("x-forwarded-for", text), set("x-real-ip", text))
	}
	if lines := head.Values("cookie"); len(lines) > 0 {
		all := strings.Join(lines, "; ")
		switch rest := claims.Cookies(all); rest {
		case all:
		case "":
			ok.HeadersToRemove = append(ok.HeadersToRemove, "cookie")
		default:
			ok.Headers = append(ok.Headers, set("cookie", rest))
		}
	}
	// Envoy removes after it has set, so what is set must not be named here.
	kept := map[string]bool{"x-forwarded-proto": true} // Envoy's own word
	for _, o := range ok.Headers {
		kept[o.GetHeader().GetKey()] = true
	}
	head.each(func(name string) {
		if claims.Header(name) && !kept[name] && !strings.HasPrefix(name, ":") {
			ok.HeadersToRemove = append(ok.HeadersToRemove, name)
		}
	})
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok},
	}
}

const (
	keyHeader    = "x-ipallow-key-id"
	clientHeader = "x-ipallow-client"
)

// set replaces a header.
func set(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
