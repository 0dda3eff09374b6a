package gateway_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// Every way to send a key, in bytes on the wire. TOKEN is a valid token, OTHER
// that of another valid key, REVOKED one that was taken back.
var credentials = []struct {
	reason, lines string
	served        bool
}{
	{"a bearer token", "Authorization: Bearer TOKEN\r\n", true},
	{"the scheme has no case", "Authorization: bEaReR TOKEN\r\n", true},
	{"header names have no case", "aUTHORIZATION: Bearer TOKEN\r\n", true},
	{"several spaces", "Authorization: Bearer   TOKEN  \r\n", true},
	{"an API key header", "X-API-Key: TOKEN\r\n", true},
	{"an API key header in lower case, with spaces around", "x-api-key:   TOKEN\t\r\n", true},
	{"the same key as both", "Authorization: Bearer TOKEN\r\nX-API-Key: TOKEN\r\n", true},

	{"nothing", "", false},
	{"an empty Authorization", "Authorization:\r\n", false},
	{"an empty X-API-Key", "X-API-Key:\r\n", false},
	{"a scheme without a token", "Authorization: Bearer\r\n", false},
	{"a scheme with a space for a token", "Authorization: Bearer \r\n", false},
	{"no scheme", "Authorization: TOKEN\r\n", false},
	{"another scheme", "Authorization: Basic TOKEN\r\n", false},
	{"a scheme that begins alike", "Authorization: BearerX TOKEN\r\n", false},
	{"a tab for the space", "Authorization: Bearer\tTOKEN\r\n", false},
	{"a colon for the space", "Authorization: Bearer:TOKEN\r\n", false},
	{"quotation marks", "Authorization: Bearer \"TOKEN\"\r\n", false},
	{"a parameter", "Authorization: Bearer token=TOKEN\r\n", false},
	{"something behind the token", "Authorization: Bearer TOKEN x\r\n", false},
	{"a comma behind the token", "Authorization: Bearer TOKEN,\r\n", false},
	{"two keys", "Authorization: Bearer TOKEN\r\nX-API-Key: OTHER\r\n", false},
	{"a valid and a revoked key", "Authorization: Bearer TOKEN\r\nX-API-Key: REVOKED\r\n", false},
	{"a revoked and a valid key", "Authorization: Bearer REVOKED\r\nX-API-Key: TOKEN\r\n", false},
	{"a valid key and an empty header", "Authorization: Bearer TOKEN\r\nX-API-Key:\r\n", false},
	{"an empty header and a valid key", "Authorization:\r\nX-API-Key: TOKEN\r\n", false},
	{"another scheme beside a valid key", "Authorization: Basic dXNlcjpw\r\nX-API-Key: TOKEN\r\n", false},
	{"a repeated line", "Authorization: Bearer TOKEN\r\nAuthorization: Bearer TOKEN\r\n", false},
	{"a repeated line with another key", "Authorization: Bearer TOKEN\r\nAuthorization: Bearer OTHER\r\n", false},
	{"a repeated line, empty first", "Authorization:\r\nAuthorization: Bearer TOKEN\r\n", false},
	{"a repeated API key", "X-API-Key: TOKEN\r\nX-API-Key: TOKEN\r\n", false},
	{"a repeated API key in two cases", "X-API-KEY: TOKEN\r\nx-api-key: OTHER\r\n", false},
	{"two keys in one line", "X-API-Key: TOKEN, TOKEN\r\n", false},
	{"an underscore", "X_API_Key: TOKEN\r\n", false},
	{"underscores in Authorization's place", "HTTP_AUTHORIZATION: Bearer TOKEN\r\n", false},
	{"the proxy's own header", "Proxy-Authorization: Bearer TOKEN\r\n", false},
	{"a cookie", "Cookie: authorization=TOKEN; api_key=TOKEN\r\n", false},
	{"a folded line", "Authorization: Bearer\r\n TOKEN\r\n", true}, // net/http joins it with a space (RFC 9112, section 5.2)
	{"revoked", "Authorization: Bearer REVOKED\r\n", false},
	{"a token cut short", "Authorization: Bearer SHORT\r\n", false},
	{"a token too long", "Authorization: Bearer TOKENa\r\n", false},
	{"a token of another case", "Authorization: Bearer UPPER\r\n", false},
	{"only the identifier", "Authorization: Bearer ID\r\n", false},
	{"over-long", "Authorization: Bearer " + strings.Repeat("a", 8000) + "\r\n", false},
	{"bytes that are no text", "Authorization: Bearer \xff\xfe\xfd\r\n", false},
}

func TestCredentials(t *testing.T) {
	w := newWorld(t, nil)
	id, _, _ := keyring.ParseToken(w.full.token)
	words := strings.NewReplacer("TOKEN", w.full.token, "OTHER", w.open.token, "REVOKED", w.revoked.token,
		"SHORT", w.full.token[:len(w.full.token)-1], "UPPER", strings.ToUpper(w.full.token), "ID", keyring.Prefix+id)
	for _, test := range credentials {
		got := raw(t, w.addr, inside, "GET /v1/ping HTTP/1.1\r\nHost: api.example\r\n"+words.Replace(test.lines)+"Connection: close\r\n\r\n")
		require.Len(t, got, 1, test.reason)
		if test.served {
			require.Equal(t, 200, got[0].status, test.reason)
			continue
		}
		require.Equal(t, 401, got[0].status, test.reason)
		require.Equal(t, "UNAUTHENTICATED", code(got[0].body), test.reason)
		require.True(t, strings.HasPrefix(got[0].header.Get("WWW-Authenticate"), "Bearer"), test.reason)
		r := w.record(got[0].header.Get("X-Request-Id"))
		require.Equal(t, 401, r.Status, test.reason)
		require.Empty(t, r.KeyID, test.reason)
	}
	require.True(t, w.open.LastUsed().IsZero(), "the other key was never used")
}

// Whoever tries keys learns from the answer neither whether a key exists nor
// whether it was revoked.
func TestInvalidKeysLookAlike(t *testing.T) {
	w := newWorld(t, nil)
	_, hash := keyring.NewSecret()
	w.ring.Put(&keyring.Key{ID: w.watched.ID, Hash: hash}) // its secret is wrong from now on
	unknown := keyring.Token(keyring.NewID(), strings.Repeat("a", keyring.SecretLen))
	var first answer
	for i, text := range []string{unknown, w.revoked.token, w.watched.token, "nonsense"} {
		for _, from := range []string{inside, outside} {
			a := w.do(from, "GET", "/v1/ping", "Authorization", "Bearer "+text)
			a.header.Del("X-Request-Id")
			a.header.Del("Date")
			if i == 0 && from == inside {
				first = a
			}
			require.Equal(t, first, a)
		}
	}
}

// A request that another method could be made of behind the gateway needs both
// scopes.
func TestMethodOverride(t *testing.T) {
	w := newWorld(t, nil)
	names := []string{"X-HTTP-Method-Override", "x-http-method-override", "X-HTTP_METHOD-Override", "X-HTTP-Method", "X-Method-Override"}
	for _, separator := range separators {
		names = append(names, strings.ReplaceAll("X-HTTP-Method-Override", "-", string(separator)),
			strings.ReplaceAll("x-http-method", "-", string(separator)), strings.Replace("X-Method-Override", "-", string(separator), 1))
	}
	for _, name := range names {
		lines := "HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n" + name + ": DELETE\r\nX-API-Key: "
		got := raw(t, w.addr, inside, "GET /v1/ping "+lines+w.reader.token+"\r\n\r\n")
		require.Equal(t, 403, got[0].status, name)
		require.Equal(t, `Bearer error="insufficient_scope", scope="write"`, got[0].header.Get("WWW-Authenticate"), name)
		got = raw(t, w.addr, inside, "POST /v1/ping "+lines+w.writer.token+"\r\n\r\n")
		require.Equal(t, 403, got[0].status, name)
		require.Equal(t, `Bearer error="insufficient_scope", scope="read"`, got[0].header.Get("WWW-Authenticate"), name)
		require.Equal(t, 200, raw(t, w.addr, inside, "GET /v1/ping "+lines+w.full.token+"\r\n\r\n")[0].status, name)
	}
	require.Equal(t, 200, w.do(inside, "GET", "/v1/ping", "X-API-Key", w.reader.token, "X-HTTP-Method-Overrides", "DELETE").status)
	require.True(t, w.writer.LastUsed().IsZero())
}

// A key that may only write reads nothing by a method that a framework takes for GET.
func TestMethodsOfAnotherCase(t *testing.T) {
	w := newWorld(t, nil)
	for _, method := range []string{"get", "Get", "gEt", "head", "oPTIONS"} {
		request := method + " /v1/ping HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\nX-API-Key: "
		got := raw(t, w.addr, inside, request+w.writer.token+"\r\n\r\n")
		require.Equal(t, 403, got[0].status, method)
		require.Equal(t, `Bearer error="insufficient_scope", scope="read"`, got[0].header.Get("WWW-Authenticate"), method)
		got = raw(t, w.addr, inside, request+w.reader.token+"\r\n\r\n")
		require.Equal(t, `Bearer error="insufficient_scope", scope="write"`, got[0].header.Get("WWW-Authenticate"), method)
		require.NotEqual(t, 403, raw(t, w.addr, inside, request+w.full.token+"\r\n\r\n")[0].status, method)
	}
	for _, method := range []string{"post", "PROPFIND"} {
		request := method + " /v1/ping HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\nX-API-Key: "
		require.NotEqual(t, 403, raw(t, w.addr, inside, request+w.writer.token+"\r\n\r\n")[0].status, method)
	}
}
