//go:build unix

package proxies

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/claims"
)

// separators are the characters of a header's name, beside the hyphen, that PHP and
// CGI make an underscore of.
const separators = "_.~+!#$%&'*^|`"

// printer is the API of these tests. It shows what an application in PHP reads.
const printer = `<?php echo json_encode(['server' => $_SERVER, 'cookie' => $_COOKIE], JSON_INVALID_UTF8_SUBSTITUTE);`

// A back is a server that fills in PHP's $_SERVER. Its start returns its address.
type back struct {
	name  string
	start func(t *testing.T) string
}

var backs = []back{
	{"php-S", func(t *testing.T) string {
		return start(t, "php", func(dir, port string) []string {
			return []string{"-n", "-S", "127.0.0.1:" + port, write(t, dir, "index.php", printer)}
		})
	}},
	{"lighttpd-cgi", func(t *testing.T) string {
		cgi := program(t, "php-cgi")
		return start(t, "lighttpd", func(dir, port string) []string {
			write(t, dir, "index.php", printer)
			return []string{"-D", "-f", write(t, dir, "lighttpd.conf", fmt.Sprintf(`
				server.modules = ("mod_rewrite", "mod_cgi")
				server.bind = "127.0.0.1"
				server.port = %s
				server.document-root = "%s"
				url.rewrite-once = ("" => "/index.php")
				cgi.assign = (".php" => "%s")`, port, dir, cgi))}
		})
	}},
	{"nginx-fastcgi", func(t *testing.T) string {
		fpm, script := startFPM(t)
		return start(t, "nginx", func(dir, port string) []string {
			return []string{"-p", dir, "-e", "stderr", "-c", write(t, dir, "nginx.conf", fmt.Sprintf(`
				user root root; daemon off; worker_processes 1; pid pid; error_log stderr; events {}
				http {
					access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
					# As careless as nginx can be told to be.
					underscores_in_headers on; ignore_invalid_headers off;
					server {
						listen 127.0.0.1:%s;
						location / { include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME %s; fastcgi_pass %s; }
					}
				}`, port, script, fpm))}
		})
	}},
	{"caddy-fastcgi", func(t *testing.T) string {
		fpm, script := startFPM(t)
		return start(t, "caddy", func(dir, port string) []string {
			return []string{"run", "--adapter", "caddyfile", "--config", write(t, dir, "Caddyfile", fmt.Sprintf(
				"{\n\tadmin off\n\tauto_https off\n}\n:%s {\n\tbind 127.0.0.1\n\troot * %s\n\trewrite * /index.php\n\treverse_proxy %s {\n\t\ttrusted_proxies private_ranges\n\t\ttransport fastcgi {\n\t\t\tsplit .php\n\t\t}\n\t}\n}\n",
				port, filepath.Dir(script), fpm))}
		})
	}},
}

// startFPM starts PHP's FastCGI server and returns its address and its script.
func startFPM(t *testing.T) (addr, script string) {
	addr = start(t, "php-fpm", func(dir, port string) []string {
		script = write(t, dir, "index.php", printer)
		return []string{"-n", "-F", "-R", "-y", write(t, dir, "fpm.conf", "[global]\nerror_log = /dev/stderr\ndaemonize = no\n[www]\nuser = root\ngroup = root\nlisten = 127.0.0.1:"+port+
			"\npm = static\npm.max_children = 2\n")}
	})
	return addr, script
}

// fronts are the gateway alone, the setups, and the shipped Caddyfile speaking
// FastCGI itself.
var fronts = append([]setup{
	{"gateway", true, func(_ *testing.T, w *world) string { return w.gateway }},
	{"caddy-php", false, func(t *testing.T, w *world) string {
		fpm, script := startFPM(t)
		return start(t, "caddy", func(dir, port string) []string {
			text := configuration(t, "Caddyfile", ":80 {", ":"+port+" {\n\tbind 127.0.0.1", "127.0.0.1:8080", w.gateway,
				"reverse_proxy 127.0.0.1:3000 {", "root * "+filepath.Dir(script)+"\n\t\trewrite * /index.php\n\t\treverse_proxy "+fpm+
					" {\n\t\t\ttransport fastcgi {\n\t\t\t\tsplit .php\n\t\t\t}")
			write(t, dir, "claims.caddy", configuration(t, "claims.caddy"))
			return []string{"run", "--adapter", "caddyfile", "--config", write(t, dir, "Caddyfile", "{\n\tadmin off\n\tauto_https off\n}\n"+text)}
		})
	}},
}, setups...)

// TestCarelessReaders: whatever names a client gives its headers, an application in
// PHP reads the gateway's words, behind the gateway and behind each proxy that asks it.
func TestCarelessReaders(t *testing.T) {
	for i, b := range backs {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			api := b.start(t)
			for _, f := range fronts {
				if f.name == "caddy-php" && i > 0 {
					continue // it has its own
				}
				t.Run(f.name, func(t *testing.T) {
					w := newWorldWith(t, f.upstream, api, false)
					tryCareless(t, w, f.start(t, w))
				})
			}
		})
	}
}

func tryCareless(t *testing.T, w *world, addr string) {
	const cookies = "Cookie: a=b; ipallow_session=forged; c=d\r\n"
	ask := func(from, token, lines string) (map[string]any, answer) {
		t.Helper()
		got := exchange(t, addr, from, "GET /index.php HTTP/1.1\r\nHost: api.example\r\nX-Mine: kept\r\nIdempotency-Key: kept\r\n"+
			"X-API-Key: "+token+"\r\n"+lines+"Connection: close\r\n\r\n")
		if got.status != 200 {
			return nil, got
		}
		var seen struct {
			Server map[string]any
			Cookie any
		}
		require.NoError(t, json.Unmarshal([]byte(got.body), &seen), "%.500s", got.body)
		require.NotContains(t, got.body, "forged", "sent: %.4000q", lines)
		return seen.Server, got
	}
	for _, lines := range forgeries() {
		seen, got := ask(inside, w.fullKey, cookies+lines)
		require.Equal(t, 200, got.status, "%.4000q: %.500s", lines, got.body)
		for name, want := range map[string]string{
			"HTTP_X_IPALLOW_KEY_ID": w.full.ID, "HTTP_X_IPALLOW_CLIENT": inside, "HTTP_X_FORWARDED_FOR": inside, "HTTP_X_REAL_IP": inside,
			"HTTP_X_FORWARDED_HOST": "api.example", "HTTP_X_FORWARDED_PROTO": "http", "HTTP_X_MINE": "kept", "HTTP_IDEMPOTENCY_KEY": "kept",
			"HTTP_COOKIE": "a=b; c=d", "REQUEST_METHOD": "GET",
		} {
			got, _ := seen[name].(string) // Caddy before the API adds its own peer
			require.Equal(t, want, strings.TrimSuffix(got, ", 127.0.0.1"), "%s: sent %.4000q", name, lines)
		}
	}
	for lines, want := range map[string]any{
		"Cookie: ipallow_session=forged\r\n":                                            "",
		"Cookie: __Host-ipallow_session=forged; a=b\r\n":                                "a=b",
		"Cookie: a=b; __Host-ipallow_session=forged; ipallow_session=forged; c=d\r\n":   "a=b; c=d",
		"Cookie: ipallow_session=forged; __Host-ipallow_session=forged; a=\"x; y\"\r\n": "a=\"x; y\"",
		"Cookie: a=b; xipallow_session=1; ipallow_sessions=2\r\n":                       "a=b; xipallow_session=1; ipallow_sessions=2",
	} {
		seen, got := ask(inside, w.fullKey, lines)
		require.Equal(t, 200, got.status, "%q", lines)
		if seen["HTTP_COOKIE"] == nil {
			seen["HTTP_COOKIE"] = ""
		}
		require.Equal(t, want, seen["HTTP_COOKIE"], "%q", lines)
	}

	// A key that only reads does not become one that deletes.
	for _, separator := range separators + "-" {
		for _, name := range []string{"X-HTTP-Method-Override", "x-http-method", "X-Method-Override"} {
			for _, spelling := range []string{strings.ReplaceAll(name, "-", string(separator)), strings.Replace(name, "-", string(separator), 1)} {
				if _, got := ask(inside, w.readerKey, spelling+": DELETE\r\n"); got.status != 403 {
					require.Equal(t, 200, got.status, spelling)
					require.NotContains(t, got.body, "DELETE", spelling)
				}
			}
		}
	}

	// Where the client's address is not known, nothing is claimed: neither what the
	// client says, nor the text of a placeholder.
	seen, got := ask("127.0.0.1", w.openKey, "X-Ipallow-Client: forged\r\n")
	require.Equal(t, 200, got.status, got.body)
	if client := seen["HTTP_X_IPALLOW_CLIENT"]; client != nil && client != "127.0.0.1" {
		require.Empty(t, client)
	}

	// Trailers are no headers. FastCGI has none (and Caddy 2.6 hangs on chunked bodies
	// that it passes to php-fpm).
	if strings.HasSuffix(t.Name(), "/caddy-php") || strings.Contains(t.Name(), "/caddy-fastcgi/") {
		return
	}
	for _, name := range []string{"X-Ipallow-Key-Id", "X.Ipallow.Key.Id"} {
		got := exchange(t, addr, inside, "POST /index.php HTTP/1.1\r\nHost: api.example\r\nX-API-Key: "+w.fullKey+"\r\nTransfer-Encoding: chunked\r\nTrailer: "+name+
			"\r\nConnection: close, "+name+"\r\n\r\n1\r\na\r\n0\r\n"+name+": forged\r\n\r\n")
		require.Contains(t, []int{200, 411, 501}, got.status, got.body)
		require.NotContains(t, got.body, "forged")
	}
}

// forgeries returns header lines in portions that every server takes: each name that
// must not pass, and names that are read as it.
func forgeries() (portions []string) {
	var names []string
	for _, name := range claims.Table() {
		switch name {
		case "authorization", "x-api-key":
			continue
		}
		if strings.HasSuffix(name, "-") {
			name += "user"
		}
		names = append(names, name)
	}
	for _, name := range []string{"X-Ipallow-Key-Id", "X-Ipallow-Client", "X-Forwarded-For", "X-Real-IP", "X-Forwarded-Proto", "Remote-User", "Content-Length", "Transfer-Encoding", "X-Forwarded-User", "Content-Type"} {
		for _, separator := range separators {
			names = append(names, strings.ReplaceAll(name, "-", string(separator)), strings.Replace(name, "-", string(separator), 1))
		}
	}
	const portion = 60
	for i := 0; i < len(names); i += portion {
		var lines strings.Builder
		for _, name := range names[i:min(i+portion, len(names))] {
			fmt.Fprintf(&lines, "%s: forged\r\n", name)
		}
		portions = append(portions, lines.String())
	}
	return append(portions, "Connection: X.Ipallow.Key.Id, X-Ipallow-Key-Id, X-Ipallow-Client, X-Forwarded-For, X-Real-IP\r\nX.Ipallow.Key.Id: forged\r\n")
}
