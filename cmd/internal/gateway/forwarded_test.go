package gateway

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestForwardedBy(t *testing.T) {
	client := netip.MustParseAddr("203.0.113.9")
	for _, test := range []struct {
		proto, addresses []string
		want, why        string
	}{
		{[]string{"https"}, []string{"203.0.113.9"}, "https", "as most proxies send it"},
		{[]string{"HTTPS"}, []string{"203.0.113.9"}, "https", "a scheme has no case"},
		{[]string{"wss"}, []string{"203.0.113.9"}, "https", "a WebSocket's handshake is HTTP"},
		{[]string{"Ws"}, []string{"203.0.113.9"}, "http", "likewise without TLS"},
		{[]string{"https"}, []string{"203.0.113.9, 10.0.0.1"}, "https", "the last proxy passes on what the first one set"},
		{[]string{"https, http"}, []string{"203.0.113.9, 10.0.0.1"}, "https", "each proxy adds: the first one terminated TLS"},
		{[]string{"https", "http"}, []string{"203.0.113.9", "10.0.0.1"}, "https", "on lines of their own"},
		{[]string{"https,http"}, []string{"203.0.113.9"}, "http", "the client wrote the left one"},
		{[]string{"https,http,http"}, []string{"198.51.100.1, 203.0.113.9, 10.0.0.1"}, "http", "likewise behind two proxies"},
		{[]string{"https,http"}, []string{"203.0.113.9, 10.0.0.2, 10.0.0.1"}, "https", "one proxy adds nothing"},
		{[]string{"https,http"}, []string{"203.0.113.9:4711, 10.0.0.1"}, "https", "with the client's port"},
		{[]string{"https,http"}, nil, "http", "no chain: the peer's word alone"},
		{[]string{"gopher"}, []string{"203.0.113.9"}, "", "not a scheme of HTTP"},
		{[]string{""}, []string{"203.0.113.9"}, "", "empty"},
		{nil, nil, "", "missing"},
	} {
		h := http.Header{"X-Forwarded-Proto": test.proto}
		require.Equal(t, test.want, forwardedBy(h, test.addresses, client).proto, test.why)
	}
	for value, want := range map[string]string{"443": "443", "0": "", "65536": "", "-1": "", "443, 80": "", "x": ""} {
		require.Equal(t, want, forwardedBy(http.Header{"X-Forwarded-Port": {value}}, nil, client).port, value)
	}
	for value, want := range map[string]string{
		"/api": "/api", "/a/b/": "/a/b/", "api": "", "//evil.example": "", "/a/../b": "", "/a?b": "", "/a%2e": "", "/a, /b": "", "/a b": "", "/é": "",
	} {
		require.Equal(t, want, forwardedBy(http.Header{"X-Forwarded-Prefix": {value}}, nil, client).prefix, value)
	}
	for value, want := range map[string]string{"api.example:8443": "api.example:8443", "a/b": "", "u@h": "", "a, b": "", "a b": ""} {
		require.Equal(t, want, forwardedBy(http.Header{"X-Forwarded-Host": {value}}, nil, client).host, value)
	}
}
