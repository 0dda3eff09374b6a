package gateway_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// Over TLS net/http speaks HTTP/2, whose ResponseWriter is another one.
func TestHTTP2(t *testing.T) {
	up := newUpstream(t, nil)
	w := up.behind(t, nil)
	server := httptest.NewUnstartedServer(w.gate)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	transport := &http.Transport{DialContext: dialer(inside).DialContext, TLSClientConfig: server.Client().Transport.(*http.Transport).TLSClientConfig.Clone(), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	for _, test := range []struct {
		method string
		key    testKey
		status int
	}{{"GET", w.full, 200}, {"HEAD", w.full, 200}, {"POST", w.reader, 403}, {"GET", w.revoked, 401}, {"TRACE", w.full, 405}} {
		req, err := http.NewRequest(test.method, server.URL+"/v1/things", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", bearer(test.key))
		req.Header.Set("X-Forwarded-Proto", "http")
		res, err := transport.RoundTrip(req)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, 2, res.ProtoMajor)
		require.Equal(t, test.status, res.StatusCode, "%s", body)
		r := w.record(res.Header.Get("X-Request-Id"))
		require.Equal(t, test.status, r.Status)
		require.Equal(t, inside, r.ClientAddr.String())
	}
	require.Len(t, up.requests(), 2)
	require.Equal(t, "https", up.last(t).Header.Get("X-Forwarded-Proto"))
}
