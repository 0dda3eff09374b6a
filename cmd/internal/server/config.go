package server

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/cmd/internal/fleet"
)

// A Config is what an operator can choose. Defaults gives the defaults.
type Config struct {
	Listen       string // the gateway's address
	AdminListen  string // the management's address
	AuthzListen  string // Envoy's ext_authz; empty: none
	Data         string // directory of everything that is kept
	AcceptOlder  bool   // start with a database that lacks acknowledged changes
	Upstream     string // URL of the API behind the gateway; empty: the built-in ping
	UpstreamCA   string // PEM file of who signs its certificate; empty: the system's
	AdminToken   string // empty: the file admin-token in Data, made at the first start
	MetricsToken string // opens /metrics and nothing else; empty: MetricsTokenFile
	// MetricsTokenFile has that token; empty: the file metrics-token in Data, if there is one.
	MetricsTokenFile string
	ReportOnly       bool // refuse nobody because of an allowlist, only log it
	LogRetention     time.Duration
	LogMaxBytes      int64         // of the usage log on disk; 0: a quarter of the disk, at most 4 GiB
	Drain            time.Duration // after SIGTERM: unready, and still answering
	TLSCert          string        // PEM files; empty: plain HTTP
	TLSKey           string

	// Hosts are names by which the management listener, or that of a gateway's status, is
	// asked for, beside those that it knows (localNames).
	Hosts []string

	// SecureCookies says that a proxy before the management listener has TLS.
	SecureCookies bool

	MaxConnections int         // of the gateway, within what descriptors allow; 0: as many as they do
	SocketMode     os.FileMode // of listeners that are unix sockets

	// ProxyProtocol says that the trusted proxies of the gateway's listener begin each
	// connection with a PROXY header. It takes the place of ClientIPHeader there.
	ProxyProtocol bool

	TrustedProxies []string // networks whose header is believed
	ClientIPHeader string   // the header that the trusted proxies write

	AllowNonPublic bool // private, loopback and other non-public entries
	MaxEntries     int
	MinBits4       int
	MinBits6       int

	// Given tells whether the operator gave the flag of this name. A policy flag
	// that was not given has the value of the start before. Nil: all were given.
	Given func(flag string) bool

	// Fleet is where the gateways of a fleet are told of the keys, or where a
	// gateway learns of them.
	Fleet fleet.Config

	Name string // of this node in the fleet

	// Of a gateway without a database (StartNode).
	StatusListen string        // address of healthz, readyz and metrics
	MaxStale     time.Duration // what it knows may be this old until it is unready
	RefuseStale  time.Duration // and this old until it refuses requests; 0: for ever

	// For measuring, not offered as flags: the same handler with enforcement
	// and logging off.
	NoAllowlist, NoLog bool
}

// Defaults returns the configuration of a start without any flag.
func Defaults() Config {
	p := ipallow.DefaultPolicy()
	return Config{
		Listen:         "127.0.0.1:8080",
		AdminListen:    "127.0.0.1:8081",
		Data:           "ipallowd-data",
		LogRetention:   30 * 24 * time.Hour,
		Drain:          5 * time.Second,
		ClientIPHeader: "X-Forwarded-For",
		SocketMode:     0o660,
		MaxEntries:     p.MaxEntries,
		MinBits4:       p.MinBits4,
		MinBits6:       p.MinBits6,
		Fleet:          fleet.Config{Prefix: fleet.DefaultPrefix},
		Name:           hostName(),
		StatusListen:   "127.0.0.1:8082",
		MaxStale:       30 * time.Second,
	}
}

// hostName returns the host's name, or "node" if it has none.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "node"
	}
	return name
}

func (c *Config) policy() ipallow.Policy {
	p := ipallow.DefaultPolicy()
	p.AllowNonPublic = c.AllowNonPublic
	p.MaxEntries, p.MinBits4, p.MinBits6 = c.MaxEntries, c.MinBits4, c.MinBits6
	return p
}

// trusted returns the networks of the proxies whose word is taken, and whether that of
// a peer on a unix socket is.
func (c *Config) trusted() (networks []netip.Prefix, unix bool, err error) {
	for _, text := range c.TrustedProxies {
		text = strings.TrimSpace(text)
		if text == "unix" {
			unix = true
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil || addr.Zone() != "" {
				return nil, false, fmt.Errorf("--trusted-proxies: %q is neither an address nor a network such as 10.20.0.0/24", text)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		networks = append(networks, p)
	}
	return networks, unix, nil
}

// source makes the source of client addresses. Without trusted proxies it is
// the TCP peer.
func (c *Config) source() (*clientip.Source, error) {
	var opts clientip.Options
	var err error
	if opts.TrustedProxies, opts.TrustUnixPeer, err = c.trusted(); err != nil {
		return nil, err
	}
	var places []int // of the networks among the values of the flag, from 1
	for i, text := range c.TrustedProxies {
		if strings.TrimSpace(text) != "unix" {
			places = append(places, i+1)
		}
	}
	if len(opts.TrustedProxies) == 0 && !opts.TrustUnixPeer {
		if c.ClientIPHeader != Defaults().ClientIPHeader {
			return nil, errors.New("--client-ip-header needs --trusted-proxies: a header is read from named proxies only")
		}
		return clientip.New(nil)
	}
	switch {
	case strings.EqualFold(c.ClientIPHeader, "X-Forwarded-For"):
		opts.Mode = clientip.XForwardedFor
	case strings.EqualFold(c.ClientIPHeader, "Forwarded"):
		opts.Mode = clientip.Forwarded
	default:
		opts.Mode, opts.Header = clientip.SingleHeader, c.ClientIPHeader
	}
	source, err := clientip.New(&opts)
	return source, flagFaults(err, places)
}

// flagFaults says which flags to correct in place of the fields of a
// clientip.Options.
func flagFaults(err error, places []int) error {
	var wrong *clientip.OptionsError
	if !errors.As(err, &wrong) {
		return err
	}
	var faults []error
	for _, f := range wrong.Faults {
		switch {
		case f.Index >= 0:
			faults = append(faults, fmt.Errorf("--trusted-proxies, value %d, %q: %s", places[f.Index], f.Input, f.Reason))
		case f.Field == "Header" || f.Field == "Mode":
			faults = append(faults, fmt.Errorf("--client-ip-header %q: %s", f.Input, f.Reason))
		default:
			faults = append(faults, fmt.Errorf("--trusted-proxies: %s: %s", f.Input, f.Reason))
		}
	}
	return errors.Join(faults...)
}

func (c *Config) upstream() (*url.URL, error) {
	if c.Upstream == "" {
		return nil, nil
	}
	u, err := url.Parse(c.Upstream)
	if err != nil {
		return nil, fmt.Errorf("--upstream: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "h2c") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("--upstream: %q: want http://HOST:PORT, https://HOST:PORT or h2c://HOST:PORT, with a path at most", c.Upstream)
	}
	return u, nil
}

func (c *Config) upstreamCAs() (*x509.CertPool, error) {
	if c.UpstreamCA == "" {
		return nil, nil
	}
	if !strings.HasPrefix(strings.ToLower(c.Upstream), "https://") {
		return nil, fmt.Errorf("--upstream-ca is for an --upstream that begins with https://, and it is %q", c.Upstream)
	}
	pem, err := os.ReadFile(c.UpstreamCA)
	if err != nil {
		return nil, fmt.Errorf("--upstream-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--upstream-ca: %s has no certificate in PEM form", c.UpstreamCA)
	}
	return pool, nil
}

// An address to listen on, and the flag that gives it. The gateway's comes
// first and ext_authz's last, which may be empty.
type address struct{ flag, addr string }

func (c *Config) serverAddresses() []address {
	return []address{{"--listen", c.Listen}, {"--admin-listen", c.AdminListen}, {"--ext-authz-listen", c.AuthzListen}}
}

func (c *Config) nodeAddresses() []address {
	return []address{{"--listen", c.Listen}, {"--status-listen", c.StatusListen}, {"--ext-authz-listen", c.AuthzListen}}
}

// validate returns every fault of what can be seen before anything is opened.
func (c *Config) validate(listen []address) error {
	var faults []error
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, l := range listen {
		if l.addr == "" && l.flag == "--ext-authz-listen" {
			continue
		}
		path, unix := strings.CutPrefix(l.addr, unixPrefix)
		switch _, _, err := net.SplitHostPort(l.addr); {
		case unix && (!filepath.IsAbs(path) || len(path) > maxSocketPath):
			add("%s: %q: want unix: and an absolute path of at most %d bytes, such as unix:/run/ipallowd.sock", l.flag, l.addr, maxSocketPath)
		case !unix && err != nil:
			add("%s: %q: want HOST:PORT, such as 127.0.0.1:8080, or unix:/run/ipallowd.sock", l.flag, l.addr)
		}
	}
	if c.MaxConnections < 0 {
		add("--max-connections: %d: want 1 or more, or 0 for as many as there are descriptors for", c.MaxConnections)
	}
	if c.ProxyProtocol && len(c.TrustedProxies) == 0 {
		add("--proxy-protocol needs --trusted-proxies: a header is read from named proxies only")
	}
	if c.ProxyProtocol && c.ClientIPHeader != Defaults().ClientIPHeader {
		add("--proxy-protocol and --client-ip-header do not go together: the PROXY header names the client")
	}
	if _, err := c.localNames(); err != nil {
		faults = append(faults, err)
	}
	if c.Data == "" {
		add("--data: name a directory")
	}
	if c.LogRetention < 0 {
		add("--log-retention: %v: want 0 (for ever) or more", c.LogRetention)
	}
	if c.Drain < 0 {
		add("--drain: %v: want 0 or more", c.Drain)
	}
	if c.LogMaxBytes != 0 && c.LogMaxBytes < MinLogBytes {
		add("--log-max-bytes: %d: want at least %s", c.LogMaxBytes, "32MiB")
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		add("--tls-cert and --tls-key go together")
	}
	if c.MaxEntries < 1 || c.MaxEntries > 100_000 {
		add("--max-entries: %d: want 1 to 100000", c.MaxEntries)
	}
	if c.MinBits4 < 0 || c.MinBits4 > 32 {
		add("--min-bits4: %d: want 0 to 32", c.MinBits4)
	}
	if c.MinBits6 < 0 || c.MinBits6 > 128 {
		add("--min-bits6: %d: want 0 to 128", c.MinBits6)
	}
	if err := c.Fleet.Validate(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// validateNode returns the faults of what only a gateway without a database
// has.
func (c *Config) validateNode() error {
	var faults []error
	if !c.Fleet.On() {
		faults = append(faults, errors.New("--nats: name the servers of the fleet, such as nats://10.20.0.5:4222"))
	}
	if len(c.Name) < 1 || len(c.Name) > maxName || !utf8.ValidString(c.Name) || strings.ContainsFunc(c.Name, unicode.IsControl) {
		faults = append(faults, fmt.Errorf("--name: %.80q: want 1 to %d bytes of text", c.Name, maxName))
	}
	if c.MaxStale <= 0 {
		faults = append(faults, fmt.Errorf("--max-stale: %v: want a positive duration", c.MaxStale))
	}
	if c.RefuseStale != 0 && c.RefuseStale < minRefuseStale {
		faults = append(faults, fmt.Errorf("--refuse-stale: %v: want %v or more, or 0 for ever", c.RefuseStale, minRefuseStale))
	}
	return errors.Join(faults...)
}

// minRefuseStale is the least Config.RefuseStale. A node asks for what it may have missed
// four times in that time.
const minRefuseStale = time.Second

// maxName is the length of the longest name of a node, in bytes.
const maxName = 200
