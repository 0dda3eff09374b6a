package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ipallow/ipallow/cmd/internal/alike"
	"github.com/ipallow/ipallow/cmd/internal/server"
	"github.com/ipallow/ipallow/cmd/internal/visible"
)

// gatewayFlags adds the flags of whatever answers requests.
func gatewayFlags(f *pflag.FlagSet, cfg *server.Config) {
	f.StringVar(&cfg.Listen, "listen", cfg.Listen, "`address` of the gateway: HOST:PORT, or unix:PATH for a socket")
	f.StringVar(&cfg.AuthzListen, "ext-authz-listen", "", "`address` of Envoy's ext_authz service (gRPC); none by default")
	f.StringVar(&cfg.Data, "data", cfg.Data, "`directory` of everything that is kept")
	f.StringVar(&cfg.Upstream, "upstream", "", "`URL` of the API behind the gateway, http, https, or h2c for HTTP/2 without TLS; without one, GET /v1/ping answers")
	f.StringVar(&cfg.UpstreamCA, "upstream-ca", "", "PEM `file` of who signs the certificate of an https upstream; the system's by default")
	f.StringSliceVar(&cfg.TrustedProxies, "trusted-proxies", nil, "`networks` of the proxies in front, such as 10.20.0.0/24,10.30.0.1; \"unix\" trusts unix sockets")
	f.StringVar(&cfg.ClientIPHeader, "client-ip-header", cfg.ClientIPHeader, "`header` in which the trusted proxies name the client: X-Forwarded-For, Forwarded, or one with a single address")
	f.DurationVar(&cfg.Drain, "drain", cfg.Drain, "after SIGTERM, how long requests are still answered while /readyz says 503")
	f.BoolVar(&cfg.ReportOnly, "report-only", false, "refuse nothing because of an allowlist, only log what would be")
	f.StringVar(&cfg.MetricsTokenFile, "metrics-token-file", "", "`file` with a token that opens /metrics and nothing else; DATA/metrics-token by default, if it is there")
	f.BoolVar(&cfg.ProxyProtocol, "proxy-protocol", false, "the trusted proxies begin each connection to the gateway with a PROXY header, version 1 or 2, which names the client; for balancers of TCP such as AWS NLB")
	f.IntVar(&cfg.MaxConnections, "max-connections", 0, "maximum number of connections to the gateway at a time; by default as many as leave descriptors (ulimit -n) for the rest")
	f.Var((*fileMode)(&cfg.SocketMode), "socket-mode", "`mode` of listeners that are unix sockets: who may write to one may connect")
	f.StringSliceVar(&cfg.Hosts, "host", nil, "`names` by which --admin-listen (--status-listen of a gateway) is asked for, beside addresses, localhost, this machine's name and those of --tls-cert: ipallow.example.com, *.example.com, or * for any")
	f.StringVar(&cfg.TLSCert, "tls-cert", "", "PEM `file` of the certificate for both listeners")
	f.StringVar(&cfg.TLSKey, "tls-key", "", "PEM `file` of its key")
}

// policyFlags adds the flags of whatever validates lists.
func policyFlags(f *pflag.FlagSet, cfg *server.Config) {
	f.BoolVar(&cfg.AllowNonPublic, "allow-non-public", false, "accept private, loopback and other entries that are no public addresses; this and the limits below are kept with the data")
	f.IntVar(&cfg.MaxEntries, "max-entries", cfg.MaxEntries, "maximum number of entries in an allowlist")
	f.IntVar(&cfg.MinBits4, "min-bits4", cfg.MinBits4, "shortest IPv4 prefix length of an entry")
	f.IntVar(&cfg.MinBits6, "min-bits6", cfg.MinBits6, "shortest IPv6 prefix length of an entry")
}

// natsFlags adds the flags of every member of a fleet, but the servers' URLs.
func natsFlags(f *pflag.FlagSet, cfg *server.Config) {
	id := &cfg.Fleet.Identity
	f.StringVar(&id.NKey, "nats-nkey", "", "`file` with this node's key for NATS, as \"ipallowd fleet init\" makes it")
	f.StringVar(&id.Creds, "nats-creds", "", "`file` with the credentials for NATS: a user's JWT and seed")
	f.StringVar(&id.User, "nats-user", "", "`name` of the user for NATS")
	f.StringVar(&id.PasswordFile, "nats-password-file", "", "`file` with that user's password; IPALLOWD_NATS_PASSWORD holds it as well")
	f.StringVar(&id.CA, "nats-ca", "", "PEM `file` of who signs the NATS servers' certificates; the system's by default")
	f.StringVar(&id.Cert, "nats-cert", "", "PEM `file` of this node's certificate, for servers that demand one")
	f.StringVar(&id.Key, "nats-key", "", "PEM `file` of its key")
	f.StringVar(&cfg.Fleet.Prefix, "nats-prefix", cfg.Fleet.Prefix, "`name` before the names of the fleet's buckets and stream")
}

// logFlags are the flags of the program's own log.
type logFlags struct{ format, level string }

func (l *logFlags) add(f *pflag.FlagSet) {
	f.StringVar(&l.format, "log-format", "text", "text or json")
	f.StringVar(&l.level, "log-level", "info", "debug, info, warn or error")
}

func (l *logFlags) logger(w io.Writer) (*slog.Logger, error) {
	logger, err := newLogger(w, l.format, l.level)
	if err != nil {
		return nil, usageError{err}
	}
	return logger, nil
}

const envPrefix = "IPALLOWD_"

// environment is the PreRunE of commands whose flags may come from there.
func environment(cmd *cobra.Command, _ []string) error {
	if f := cmd.Flags().Lookup("nats"); f != nil && f.Changed {
		urls, err := cmd.Flags().GetStringSlice("nats")
		if err == nil && slices.ContainsFunc(urls, hasSecret) {
			fmt.Fprintln(cmd.ErrOrStderr(), "ipallowd: warning: --nats has a password or token on the command line, where every user of this machine can read it; "+
				"give --nats-nkey or --nats-creds, or --nats-user with --nats-password-file")
		}
	}
	for _, text := range unknownVariables(cmd.Root(), os.Environ()) {
		fmt.Fprintln(cmd.ErrOrStderr(), "ipallowd: warning:", text)
	}
	return fromEnvironment(cmd.Flags(), os.LookupEnv)
}

// unknownVariables names the variables of the environment that look like
// settings and are none, of whatever command, with those that were perhaps
// meant: a setting that is not read is not in force, and nothing says so.
func unknownVariables(root *cobra.Command, environ []string) []string {
	known := []string{envPrefix + "ADMIN_TOKEN", envPrefix + "NATS_PASSWORD"}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { known = append(known, variable(f)) })
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(root)
	slices.Sort(known)
	known = slices.Compact(known)
	var texts []string
	for _, v := range environ {
		name, _, _ := strings.Cut(v, "=")
		upper := strings.ToUpper(name) // ipallowd_listen is no setting either
		if !strings.HasPrefix(upper, envPrefix) && !strings.HasPrefix(upper, "IPALLOW_") || slices.Contains(known, name) {
			continue
		}
		if strings.HasPrefix(upper, "IPALLOW_") {
			upper = envPrefix + strings.TrimPrefix(upper, "IPALLOW_")
			if !slices.Contains(known, upper) {
				continue // somebody else's
			}
		}
		near := alike.Names(known, upper)
		if len(near) > 1 {
			near = near[:1]
		}
		texts = append(texts, fmt.Sprintf("the variable %s is not a setting and was not read%s", name, alike.DidYouMean(near)))
	}
	slices.Sort(texts)
	return texts
}

// variable is the name in the environment of a flag.
func variable(f *pflag.Flag) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// hasSecret reports whether a URL has a user: NATS takes a name without a
// password for a token.
func hasSecret(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.User != nil
}

// fromEnvironment gives every flag that is not on the command line its value
// from the environment.
func fromEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var fault error
	flags.VisitAll(func(f *pflag.Flag) {
		name := variable(f)
		value, ok := lookup(name)
		if !ok || f.Changed || f.Name == "help" || fault != nil {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			fault = usageError{fmt.Errorf("%s: %w", name, err)}
		}
	})
	return fault
}

// days is a duration that may be written in days, such as 30d.
type days time.Duration

func (d *days) String() string {
	if t := time.Duration(*d); t > 0 && t%(24*time.Hour) == 0 {
		return strconv.FormatInt(int64(t/(24*time.Hour)), 10) + "d"
	}
	return time.Duration(*d).String()
}

func (d *days) Set(s string) error {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		v, err := strconv.ParseUint(n, 10, 16)
		if err != nil {
			return fmt.Errorf("%q: want days such as 30d, or a duration such as 12h", s)
		}
		*d = days(time.Duration(v) * 24 * time.Hour)
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fmt.Errorf("%q: want days such as 30d, or a duration such as 12h", s)
	}
	*d = days(v)
	return nil
}

func (d *days) Type() string { return "duration" }

// size is a number of bytes that may be written with a unit, such as 20GiB. 0 is the
// default.
type size int64

func (s *size) String() string {
	if *s == 0 {
		return ""
	}
	return humanize.IBytes(uint64(*s)) // #nosec G115 -- Set takes no negative one
}

func (s *size) Set(text string) error {
	n, err := humanize.ParseBytes(text)
	if err != nil || n == 0 || n > math.MaxInt64 {
		return fmt.Errorf("%q: want bytes such as 500MiB or 20GiB", text)
	}
	*s = size(n)
	return nil
}

func (s *size) Type() string { return "bytes" }

// fileMode is the permissions of a file, as chmod takes them.
type fileMode os.FileMode

func (m *fileMode) String() string { return fmt.Sprintf("%04o", os.FileMode(*m).Perm()) }

func (m *fileMode) Set(s string) error {
	v, err := strconv.ParseUint(s, 8, 32)
	if err != nil || v > 0o777 {
		return fmt.Errorf("%q: want an octal number such as 0660", s)
	}
	*m = fileMode(v)
	return nil
}

func (m *fileMode) Type() string { return "mode" }

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level: %q: want debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: l, ReplaceAttr: showText}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("--log-format: %q: want text or json", format)
}

// maxLogged bounds one text in the log, in bytes. Methods, paths, names in TLS and
// errors of net/http may repeat what a stranger sent, as long as a whole header.
const maxLogged = 2048

// showText is slog's ReplaceAttr. It cuts long texts, and shows those of others as what
// they are: JSON writes hidden characters as they come, and text quotes only some.
func showText(_ []string, a slog.Attr) slog.Attr {
	var text, shown string
	switch a.Value.Kind() {
	case slog.KindString:
		text = a.Value.String()
		shown = visible.Text(cutText(text))
	case slog.KindAny:
		text = fmt.Sprint(a.Value.Any())
		shown = visible.Lines(cutText(text))
	}
	if shown != text {
		a.Value = slog.StringValue(shown)
	}
	return a
}

func cutText(text string) string {
	if len(text) > maxLogged {
		return strings.ToValidUTF8(text[:maxLogged], "") + "…"
	}
	return text
}

// stopWithin bounds how long requests and usage records are waited for at the
// end.
const stopWithin = 20 * time.Second

// A running is a server that runs until it is told to stop or fails.
type running interface {
	Banner() string
	Failed() <-chan error
	Unready()
	Reload()
	Close(context.Context) error
}

// runUntil runs a server until ctx ends. If that was by SIGTERM, which is how
// a supervisor stops it, the server goes on for drain while /readyz says that it should get
// no more requests: whoever sends them needs time to notice. A second signal cuts off what
// runs; what was answered is kept all the same.
func runUntil(ctx context.Context, s running, drain time.Duration, logger *slog.Logger, out io.Writer) error {
	hurry, ended := secondSignal()
	defer ended()
	fmt.Fprint(out, s.Banner())
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Ignore(syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-hangup:
				s.Reload()
			case <-ctx.Done():
				return
			}
		}
	}()
	var err error
	select {
	case <-ctx.Done():
		var by signalled
		if errors.As(context.Cause(ctx), &by) && by.Signal == syscall.SIGTERM && drain > 0 {
			s.Unready()
			logger.Info("draining: /readyz says 503, requests are still answered", "for", drain)
			select {
			case <-time.After(drain):
			case <-hurry.Done():
			case err = <-s.Failed():
			}
		}
		logger.Info("stopping")
	case err = <-s.Failed():
	}
	stop, cancel := context.WithTimeout(hurry, stopWithin)
	defer cancel()
	if e := s.Close(stop); err == nil {
		err = e
	}
	return err
}

// secondSignal returns a context that the second signal to stop ends. A third one ends
// the program where it stands, as it would without this.
func secondSignal() (ctx context.Context, end context.CancelFunc) {
	ctx, end = context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer end()
		defer signal.Stop(signals)
		for range 2 {
			select {
			case <-signals:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, end
}
