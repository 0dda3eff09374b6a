package fleetconf

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/natsfeed"
)

// A service is a subject of the management's account to which a gateway's account
// may send requests.
type service struct {
	subject string // in the management's account
	local   string // in the gateway's
	stream  bool   // a request has several answers
}

// services returns what a gateway may ask for: its own consumers, and where what is
// its own goes. Nothing here waits in a queue with what others ask for. TestRights
// attacks through them, and TestFloods.
func (f *Fleet) services(gateway string) []service {
	return append(f.keyServices(gateway), f.recordServices(gateway)...)
}

// keyServices are those of the account in which a gateway follows the keys.
func (f *Fleet) keyServices(gateway string) (list []service) {
	for _, name := range natsfeed.ConsumerNames(gateway) {
		consumer := "KV_" + f.Prefix + "_keys." + name
		for _, what := range []string{"CONSUMER.RESET.", "CONSUMER.MSG.NEXT."} {
			list = append(list, service{"$JS.API." + what + consumer, fleet.APIPrefix(f.Prefix) + "." + what + consumer, what == "CONSUMER.MSG.NEXT."})
		}
	}
	return list
}

// recordServices are those of the account that a gateway sends by.
func (f *Fleet) recordServices(gateway string) []service {
	usage, report := f.Prefix+".usage."+gateway, "$KV."+f.Prefix+"_nodes.gateway."+gateway
	return []service{{usage, usage, false}, {report, report, false}}
}

func (f *Fleet) managementAccount() string         { return f.Prefix + "-management" }
func (f *Fleet) gatewayAccount(name string) string { return f.Prefix + "-gateway-" + name }
func (f *Fleet) recordsAccount(name string) string { return f.Prefix + "-records-" + name }

const (
	// gatewayConnections is how many connections a gateway may have in each of its
	// accounts. It needs one; those that ended without a word count for a minute.
	gatewayConnections = 8

	// requestPayload is the longest request that it may make. Those that natsfeed
	// makes have some 100 bytes.
	requestPayload = 1 << 10

	// recordsPayload is the longest message of usage records, or report. What fleet
	// sends is shorter.
	recordsPayload = fleet.MaxMessage

	// bufferedBytes is how much a stream may have before it that is not stored yet,
	// from all gateways; what comes then is refused, and sent again.
	bufferedBytes = 32 << 20
)

const head = "# Made by \"ipallowd fleet\", which overwrites it. See docs/fleet.md.\n"

// An account is one of a gateway's.
type account struct {
	name, key string
	services  []service
	payload   int
}

// of returns a gateway's accounts.
func (f *Fleet) of(gateway string) []account {
	return []account{
		{f.gatewayAccount(gateway), f.Gateways[gateway], f.keyServices(gateway), requestPayload},
		{f.recordsAccount(gateway), f.Records[gateway], f.recordServices(gateway), recordsPayload},
	}
}

// denied are subjects that the management node has no use for: what removes streams or
// takes messages out of them, and what gateways send.
func (f *Fleet) denied() []string {
	list := []string{f.Prefix + ".usage.>", "$SYS.>"}
	for _, what := range []string{
		"STREAM.PURGE", "STREAM.DELETE", "STREAM.MSG.DELETE", "STREAM.SNAPSHOT", "STREAM.RESTORE", "ACCOUNT.PURGE", "META.LEADER", "SERVER",
	} {
		list = append(list, "$JS.API."+what+".>")
	}
	return list
}

// accounts returns the accounts and their users.
func (f *Fleet) accounts() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%saccounts {\n  %q {\n    jetstream: enabled\n    users: [ { nkey: %s, permissions: { publish: { deny: [\n", head, f.managementAccount(), f.Management)
	for _, subject := range f.denied() {
		fmt.Fprintf(&b, "      %q\n", subject)
	}
	b.WriteString("    ] } } } ]\n    exports: [\n")
	var all []account
	for _, name := range f.Names() {
		all = append(all, f.of(name)...)
	}
	for _, a := range all {
		for _, s := range a.services {
			answers := "singleton, threshold: 3s"
			if s.stream { // heartbeats come every second, and the server remembers each request so long
				answers = "stream, threshold: 3s"
			}
			fmt.Fprintf(&b, "      { service: %q, accounts: [ %q ], response: %s }\n", s.subject, a.name, answers)
		}
	}
	b.WriteString("    ]\n  }\n")
	for _, a := range all {
		fmt.Fprintf(&b, "  %q {\n    limits: { max_connections: %d, max_payload: %d, max_subscriptions: 64 }\n    users: [ {\n      nkey: %s\n      permissions: {\n        subscribe: { allow: [ \"_INBOX.>\" ] }\n        publish: { allow: [\n",
			a.name, gatewayConnections, a.payload, a.key)
		for _, s := range a.services {
			fmt.Fprintf(&b, "          %q\n", s.local)
		}
		b.WriteString("        ] }\n      }\n    } ]\n    imports: [\n")
		for _, s := range a.services {
			fmt.Fprintf(&b, "      { service: { account: %q, subject: %q }", f.managementAccount(), s.subject)
			if s.local != s.subject {
				fmt.Fprintf(&b, ", to: %q", s.local)
			}
			b.WriteString(" }\n")
		}
		b.WriteString("    ]\n  }\n")
	}
	b.WriteString("}\n")
	return b.Bytes()
}

// server returns the configuration of a server.
func (f *Fleet) server(i int) []byte {
	var b bytes.Buffer
	host, port := split(f.Servers[i])
	fmt.Fprintf(&b, "%sserver_name: \"%s-nats-%d\"\nlisten: %q\nping_interval: 20s\nping_max: 2\njetstream { store_dir: %q, max_buffered_size: %d }\ninclude %q\n",
		head, f.Prefix, i+1, net.JoinHostPort(bind(host), strconv.Itoa(port)), f.store(i), bufferedBytes, "./"+accountFile)
	tls := ""
	if f.TLSCert != "" {
		tls = fmt.Sprintf("tls {\n  cert_file: %q\n  key_file: %q\n", f.TLSCert, f.TLSKey)
		if f.TLSCA != "" {
			tls += fmt.Sprintf("  ca_file: %q\n  verify: true\n", f.TLSCA)
		}
		tls += "}\n"
		b.WriteString(tls)
	}
	if len(f.Servers) == 1 {
		return b.Bytes()
	}
	fmt.Fprintf(&b, "cluster {\n  name: %q\n  listen: %q\n  no_advertise: true\n  authorization { user: route, password: %q }\n  routes: [\n",
		f.Prefix, net.JoinHostPort(bind(host), strconv.Itoa(port+routePorts)), f.Routes)
	for j, server := range f.Servers {
		if host, port := split(server); j != i {
			fmt.Fprintf(&b, "    %q\n", "nats-route://route:"+f.Routes+"@"+net.JoinHostPort(host, strconv.Itoa(port+routePorts)))
		}
	}
	b.WriteString("  ]\n")
	if f.TLSCA != "" { // each is a client of the others
		b.WriteString(tls)
	}
	b.WriteString("}\n")
	return b.Bytes()
}

// split returns the host and port of a server that was validated.
func split(server string) (string, int) {
	host, text, _ := net.SplitHostPort(server)
	port, _ := strconv.Atoi(text)
	return host, port
}

// bind returns the address to listen on: a name may be another one on its own
// host.
func bind(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return host
	}
	return "0.0.0.0"
}

// Local reports whether all servers are on this machine alone.
func (f *Fleet) Local() bool {
	for _, server := range f.Servers {
		host, _ := split(server)
		if addr, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !addr.IsLoopback()) {
			return false
		}
	}
	return true
}

// store returns where a server keeps its streams: in the fleet's directory if it
// is on this machine.
func (f *Fleet) store(i int) string {
	switch {
	case f.Store != "" && len(f.Servers) > 1 && f.Local():
		return filepath.Join(f.Store, fmt.Sprintf("nats-%d", i+1))
	case f.Store != "":
		return f.Store
	case !f.Local():
		return "/var/lib/nats"
	}
	dir, err := filepath.Abs(f.Dir)
	if err != nil {
		dir = f.Dir
	}
	return filepath.Join(dir, fmt.Sprintf("nats-%d", i+1))
}
