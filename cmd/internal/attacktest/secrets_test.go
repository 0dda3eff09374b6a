package attacktest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/server"
)

// TestSecretsAreNowhere uses secrets in every right and wrong way, and then looks
// for them in all that the server says, logs and keeps.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *server.Config) { c.AdminToken = "" })
	b, err := os.ReadFile(filepath.Join(s.dir, "admin-token"))
	require.NoError(t, err)
	admin := strings.TrimSpace(string(b))
	api := func(method, path, body string) answer {
		return s.do(home, method, "http://"+s.manage+path, body, "Authorization", "Bearer "+admin, "Content-Type", "application/json")
	}
	var made, rotated key
	a := api("POST", "/api/v1/keys", `{"name":"to be found","scopes":["read"],"allowlist":[{"entry":"`+inside+`"}]}`)
	require.Equal(t, 201, a.StatusCode)
	require.NoError(t, json.Unmarshal([]byte(a.text), &made))
	a = api("POST", "/api/v1/keys/"+made.ID+"/rotate", "")
	require.NoError(t, json.Unmarshal([]byte(a.text), &rotated))
	require.NotEqual(t, made.Secret, rotated.Secret)
	require.Equal(t, 401, s.ping(inside, made.Secret).StatusCode, "the old one is worth nothing")
	require.Equal(t, 200, s.ping(inside, rotated.Secret).StatusCode)

	login := s.form(home, "/login", url.Values{"token": {admin}})
	require.Equal(t, 303, login.StatusCode)
	session := login.Cookies()[0].Value
	cookie := login.Cookies()[0].Name + "=" + session
	created := s.form(home, "/keys/new", url.Values{"action": {"create"}, "name": {"by the page"}, "scope": {"read"}}, "Cookie", cookie)
	require.Equal(t, 303, created.StatusCode)
	shown := s.page(created.Header.Get("Location"), cookie)
	ofPage := regexp.MustCompile(`ipk_[a-z2-7]{16}_[A-Za-z0-9_-]{43}`).FindString(shown.text)
	require.NotEmpty(t, ofPage, "it is shown once")

	var said strings.Builder // all answers from here on
	hear := func(a answer) {
		said.WriteString(a.text)
		_ = a.Header.Write(&said)
	}
	hear(s.page(created.Header.Get("Location"), cookie))
	for _, secret := range []string{made.Secret, rotated.Secret, ofPage, admin} {
		for _, addr := range []string{s.gateway, s.manage} {
			q := url.QueryEscape(secret)
			for _, path := range []string{"/v1/ping?key=" + q, "/v1/" + secret + "/x", "/" + strings.ReplaceAll(secret, "_", "%5f"), "/%69pk" + strings.TrimPrefix(secret, "ipk")} {
				if secret == admin && addr == s.gateway && !strings.Contains(path, "?") {
					continue // a path of the gateway's is recorded; it knows API keys by their form, and the administrator's token has none
				}
				for _, header := range [][]string{nil, {"Authorization", "Bearer " + secret + "x"}} {
					a := s.do(inside, "GET", "http://"+addr+path, "", header...)
					if strings.HasPrefix(a.Header.Get("Location"), "/login?next=") {
						continue // the way back goes to who sent it, and nowhere else
					}
					hear(a)
				}
			}
			hear(s.do(inside, "GET", "http://"+addr+"/", "", "Authorization", secret, "X-API-Key", "Bearer "+secret, "Referer", "http://x/"+secret, "User-Agent", secret))
			hear(s.do(inside, "GET", "http://"+addr+"/", "", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("x:"+secret))))
		}
	}
	for _, guess := range []string{made.Secret, ofPage} { // into the administrator's form
		hear(s.form("127.0.0.25", "/login", url.Values{"token": {guess}}))
	}
	s.stored()
	for _, path := range []string{"/api/v1/keys?revoked=true", "/api/v1/keys/" + made.ID, "/api/v1/keys/" + made.ID + "/allowlist", "/api/v1/logs?limit=1000", "/api/v1/logs.csv", "/api/v1/audit", "/metrics", "/api/openapi.json"} {
		a := api("GET", path, "")
		require.Equal(t, 200, a.StatusCode, path)
		hear(a)
	}
	for _, path := range []string{"/keys", "/logs", "/logs.csv", "/audit", "/keys/" + made.ID + "/allowlist", "/keys/" + made.ID + "/edit", "/keys/" + made.ID + "/secret"} {
		hear(s.page(path, cookie))
	}
	s.close()

	kept := map[string][]byte{"answers": []byte(said.String()), "log": []byte(s.said.String())}
	require.NoError(t, filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, "others can read %s", path)
		if d.Type().IsRegular() {
			kept[path], err = os.ReadFile(path)
			require.NoError(t, err)
		}
		return nil
	}))
	hash := sha256.Sum256([]byte(rotated.Secret[len(rotated.Secret)-43:]))
	var names, hashes int
	for where, b := range kept {
		for _, secret := range []string{made.Secret, rotated.Secret, ofPage, session, admin} {
			if secret == admin && filepath.Base(where) == "admin-token" {
				continue
			}
			part := secret[max(0, len(secret)-43):]
			for _, form := range [][]byte{[]byte(part), []byte(part[:20]), []byte(hex.EncodeToString([]byte(part))), []byte(base64.StdEncoding.EncodeToString([]byte(part)))[:40], bits(part)} {
				i := bytes.Index(b, form)
				require.Negative(t, i, "a secret is in %s: %.300q", where, b[max(0, i-100):])
			}
		}
		names += bytes.Count(b, []byte("to be found"))
		hashes += bytes.Count(b, hash[:])
		if where == "answers" || where == "log" {
			require.False(t, bytes.Contains(b, hash[:]) || bytes.Contains(b, []byte(hex.EncodeToString(hash[:]))), "a hash is in %s", where)
		}
	}
	require.Positive(t, names, "what is there is found")
	require.Positive(t, hashes, "the hash is what is kept")
}

// bits returns the random bits of a secret.
func bits(secret string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(secret)
	if err != nil {
		return []byte(secret)
	}
	return b
}
