package page

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// Pages are compressed, but for the one whose length would tell of a secret.
func TestCompression(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	b.press(b.get("/keys/new"), "/keys/new", "create", set("name", "Billing"))
	list, err := r.svc.Keys(t.Context(), manage.KeyQuery{})
	require.NoError(t, err)
	for path, encoding := range map[string]string{
		"/keys": "gzip", "/keys/new": "gzip", r.page.assets.url["app.css"]: "gzip", keyURL(list.Keys[0].ID, "secret"): "",
		keyURL(list.Keys[0].ID, "allowlist"): "gzip", "/logs.csv": "",
	} {
		req, err := http.NewRequest("GET", b.server.URL+path, nil)
		require.NoError(t, err)
		req.Header.Set("Accept-Encoding", "gzip")
		res, err := b.client.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		require.NoError(t, err)
		require.Equal(t, 200, res.StatusCode, path)
		require.Equal(t, encoding, res.Header.Get("Content-Encoding"), path)
		if encoding == "" {
			continue
		}
		z, err := gzip.NewReader(bytes.NewReader(body))
		require.NoError(t, err)
		plain, err := io.ReadAll(z)
		require.NoError(t, err)
		require.Less(t, 2*len(body), len(plain), path)
		require.Equal(t, "Accept-Encoding", res.Header.Get("Vary"), path)
	}
}
