//go:build unix

package realproxy

import (
	"fmt"
	"path/filepath"
	"strings"
)

// The addresses that the proxies call the server from. Both are trusted.
const (
	nginxAddr   = "127.0.0.200"
	haproxyAddr = "127.0.0.201"
)

// nginxConfig listens for X-Forwarded-For, Forwarded and X-Real-IP, in this
// order, each passed to the server of that kind. Forwarded is appended to what
// the client sent without looking at it, which is the hardest case.
func nginxConfig(dir string, ports []int, servers map[kind]string) (string, []string) {
	var b strings.Builder
	fmt.Fprintf(&b, `daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr warn;
events { worker_connections 256; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	large_client_header_buffers 4 32k;
	map $http_forwarded $forwarded {
		""      "for=$remote_addr";
		default "$http_forwarded, for=$remote_addr";
	}
	proxy_http_version 1.1;
	proxy_bind %[2]s;
`, dir, nginxAddr)
	for i, header := range []struct {
		kind kind
		line string
	}{
		{xForwardedFor, "X-Forwarded-For $proxy_add_x_forwarded_for"},
		{forwarded, "Forwarded $forwarded"},
		{realIP, "X-Real-IP $remote_addr"},
	} {
		fmt.Fprintf(&b, `	server {
		listen 127.0.0.1:%d;
		location / {
			proxy_set_header %s;
			proxy_set_header Connection "";
			proxy_pass http://%s;
		}
	}
`, ports[i], header.line, servers[header.kind])
	}
	b.WriteString("}\n")
	return b.String(), []string{"-p", dir, "-e", "stderr", "-c", filepath.Join(dir, "conf")}
}

// haproxyConfig listens for X-Forwarded-For, Forwarded, X-Real-IP, the PROXY
// protocol in version 1 (forwarding TCP) and in version 2 (forwarding HTTP), and
// last for X-Forwarded-For through the address next, another proxy.
func haproxyConfig(dir string, ports []int, servers map[kind]string, next string) (string, []string) {
	var b strings.Builder
	b.WriteString(`global
	maxconn 256
defaults
	mode http
	timeout connect 5s
	timeout client 20s
	timeout server 20s
`)
	for i, l := range []struct{ name, lines, server, option string }{
		{"xff", "option forwardfor", servers[xForwardedFor], ""},
		{"forwarded", "http-request add-header Forwarded for=%[src]", servers[forwarded], ""},
		{"realip", "http-request set-header X-Real-IP %[src]", servers[realIP], ""},
		{"proxy1", "mode tcp", servers[proxyProtocol], "send-proxy"},
		{"proxy2", "mode http", servers[proxyProtocol], "send-proxy-v2"},
		{"twice", "option forwardfor", next, ""},
	} {
		fmt.Fprintf(&b, "listen %s\n\tbind 127.0.0.1:%d\n\t%s\n\tserver s %s source %s %s\n",
			l.name, ports[i], l.lines, l.server, haproxyAddr, l.option)
	}
	return b.String(), []string{"-db", "-f", filepath.Join(dir, "conf")}
}
