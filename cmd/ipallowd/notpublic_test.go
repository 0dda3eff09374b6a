package main

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStoredNotPublic starts, without a flag, on the data of a version that took
// 198.18.0.0/24 for public. The list is enforced as it was, the warning names the key and
// the flag, a new save follows the policy, and with the flag nothing is said.
func TestStoredNotPublic(t *testing.T) {
	t.Parallel()
	data := unpack(t, filepath.Join("testdata", "not-public", "b5682e2.zip"))
	serve := func(args ...string) *process {
		return launch(t, append([]string{
			"serve", "--data", data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
			"--trusted-proxies", "127.0.0.1/32",
		}, args...)...)
	}
	const warning = "entries that the policy refuses"
	stored := []entry{{"198.18.0.0/24", "office"}}

	p := serve()
	var keys struct {
		Keys []createdKey `json:"keys"`
	}
	status, err := p.api("GET", "/keys?search=shut", nil, &keys)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.Len(t, keys.Keys, 1)
	id := keys.Keys[0].ID
	for _, text := range []string{warning, id, "198.18.0.0/24", "--allow-non-public", "name=shut"} {
		require.Contains(t, p.said(), text)
	}

	var key createdKey
	status, err = p.api("POST", "/keys/"+id+"/rotate", nil, &key)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	from := func(client string, want int) {
		t.Helper()
		got, _, err := p.pingFrom(key.Secret, client)
		require.NoError(t, err)
		require.Equal(t, want, got, client)
	}
	from("198.18.0.77", http.StatusOK)
	from("198.18.1.77", http.StatusForbidden)
	from("203.0.113.9", http.StatusForbidden)

	put := func(want int, list ...entry) {
		t.Helper()
		status, err := p.api("PUT", "/keys/"+id+"/allowlist", map[string]any{"entries": list, "confirm_lockout": true}, nil)
		require.NoError(t, err)
		require.Equal(t, want, status)
	}
	put(http.StatusUnprocessableEntity, append(stored, entry{"203.0.113.9", ""})...)
	put(http.StatusUnprocessableEntity, stored...)
	require.Equal(t, []string{"198.18.0.0/24 office"}, p.entriesOf(id))
	from("198.18.0.77", http.StatusOK)
	p.kill()

	p = serve("--allow-non-public")
	require.NotContains(t, p.said(), warning)
	put(http.StatusOK, append(stored, entry{"203.0.113.9", ""})...)
	from("203.0.113.9", http.StatusOK)
	p.kill()

	// The flag is kept with the data. Taken back, the list stays in force.
	p = serve()
	require.NotContains(t, p.said(), warning)
	p.kill()
	p = serve("--allow-non-public=false")
	require.Contains(t, p.said(), warning)
	from("198.18.0.77", http.StatusOK)
	put(http.StatusOK, entry{"203.0.113.9", ""})
	from("198.18.0.77", http.StatusForbidden)
	p.kill()
	p = serve()
	require.NotContains(t, p.said(), warning, "the last of these lists is gone")
}
