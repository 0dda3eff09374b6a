package server

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"

	"github.com/ipallow/ipallow/cmd/internal/api"
)

// maxHostName is the length of the longest name in DNS, in bytes.
const maxHostName = 253

// hostProfile brings names into the form that browsers send. Names of containers may have
// underscores.
var hostProfile = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false))

// localNames are the names by which requests may ask for the management listener, beside
// those of the certificate: of --host, of the listener's address, and of this machine.
func (c *Config) localNames() ([]string, error) {
	names := []string{"localhost", "*.localhost"}
	for _, l := range []string{c.AdminListen, c.StatusListen} {
		if host, _, err := net.SplitHostPort(l); err == nil {
			names = append(names, hostOf(host))
		}
	}
	if host := hostOf(hostName()); host != "" {
		names = append(names, host, host+".local") // as mDNS has it
	}
	for _, text := range c.Hosts {
		name := strings.TrimSpace(text)
		if name == "*" {
			names = append(names, name)
			continue
		}
		wild, rest := "", name
		if r, ok := strings.CutPrefix(name, "*."); ok {
			wild, rest = "*.", r
		}
		ascii, err := hostProfile.ToASCII(strings.TrimSuffix(rest, "."))
		if err != nil || ascii == "" || len(ascii) > maxHostName || strings.ContainsAny(ascii, "*:/@[] ") {
			return nil, fmt.Errorf("--host: %.300q: want a name such as ipallow.example.com, without scheme, port and path, or *.example.com, or *", text)
		}
		names = append(names, wild+strings.ToLower(ascii))
	}
	return names, nil
}

// hostOf returns the host of an authority in the form in which hosts are compared.
func hostOf(authority string) string {
	host := authority
	if h, _, err := net.SplitHostPort(authority); err == nil {
		host = h
	} else if h, ok := strings.CutPrefix(authority, "["); ok {
		host = strings.TrimSuffix(h, "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// ours reports whether a request for host is meant for the management listener. A name of
// somebody else's that was turned to this address (DNS rebinding) is not; an address
// cannot be turned.
func (s *host) ours(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	_, parent, _ := strings.Cut(host, ".")
	for _, name := range s.names {
		if name == host || name == "*" || parent != "" && name == "*."+parent {
			return true
		}
	}
	return s.certificate != nil && s.certificate.inUse.Load().Leaf.VerifyHostname(host) == nil
}

// onlyOurs answers requests for other hosts with 421 (RFC 9110, section 15.5.20).
// It stands before everything, so that a script of another site reads nothing at all.
func (s *host) onlyOurs(next http.Handler) http.Handler {
	logged := seldom{logger: s.logger}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := hostOf(r.Host)
		if r.Host == "" || s.ours(host) { // no browser leaves it out, and HTTP/1.0 may
			next.ServeHTTP(w, r)
			return
		}
		logged.warn("a request for a host that is not this server's was refused; if it is, add --host", "host", r.Host)
		text := fmt.Sprintf("This server does not answer for the host %.300q. "+
			"If that is a name of this server, start it with --host and that name, without the port; otherwise open it by its address.", host)
		if strings.HasPrefix(r.URL.Path, "/api/") || r.URL.Path == "/metrics" {
			api.WrongHost(w, text)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(http.StatusMisdirectedRequest)
		_, _ = io.WriteString(w, text+"\n")
	})
}
