package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ipallow/ipallow/cmd/internal/server"
)

// stopWithin bounds how long requests and usage records are waited for at the
// end.
const stopWithin = 20 * time.Second

func newServeCommand() *cobra.Command {
	cfg := server.Defaults()
	var logFormat, logLevel string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway, the management API and the settings page",
		Long: `Run the gateway, the management API and the settings page.

The gateway authenticates each request by its key (Authorization: Bearer
ipk_... or X-API-Key), checks its scope and its client address, and hands it to
--upstream; without one it answers GET /v1/ping itself. A proxy of your own can
ask /_ipallow/authz on the gateway instead, and Envoy --ext-authz-listen.

The management listener has the settings page, the API under /api/v1, /metrics,
/healthz and /readyz. Keep it away from the public: bind it to a private
address, and put TLS in front or give --tls-cert.

Every flag can be given by the environment: --admin-listen is
IPALLOWD_ADMIN_LISTEN. The administrator's token comes from
IPALLOWD_ADMIN_TOKEN, or is made at the first start into DATA/admin-token.`,
		Example: `  ipallowd serve
  ipallowd serve --upstream http://127.0.0.1:9000 --trusted-proxies 10.20.0.0/24
  IPALLOWD_DATA=/var/lib/ipallowd ipallowd serve --listen :8080`,
		Args: cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			return fromEnvironment(cmd.Flags(), os.LookupEnv)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := newLogger(cmd.ErrOrStderr(), logFormat, logLevel)
			if err != nil {
				return usageError{err}
			}
			cfg.AdminToken = os.Getenv(envPrefix + "ADMIN_TOKEN")
			return serve(cmd.Context(), cfg, logger, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Listen, "listen", cfg.Listen, "`address` of the gateway")
	f.StringVar(&cfg.AdminListen, "admin-listen", cfg.AdminListen, "`address` of the settings page and the management API")
	f.StringVar(&cfg.AuthzListen, "ext-authz-listen", "", "`address` of Envoy's ext_authz service (gRPC); none by default")
	f.StringVar(&cfg.Data, "data", cfg.Data, "`directory` of everything that is kept")
	f.StringVar(&cfg.Upstream, "upstream", "", "`URL` of the API behind the gateway; without one, GET /v1/ping answers")
	f.StringSliceVar(&cfg.TrustedProxies, "trusted-proxies", nil, "`networks` of the proxies in front, such as 10.20.0.0/24,10.30.0.1; \"unix\" trusts unix sockets")
	f.StringVar(&cfg.ClientIPHeader, "client-ip-header", cfg.ClientIPHeader, "`header` in which the trusted proxies name the client: X-Forwarded-For, Forwarded, or one with a single address")
	f.BoolVar(&cfg.ReportOnly, "report-only", false, "refuse nothing because of an allowlist, only log what would be")
	f.Var((*days)(&cfg.LogRetention), "log-retention", "how long usage records are kept, such as 30d or 12h; 0 keeps them for ever")
	f.StringVar(&cfg.TLSCert, "tls-cert", "", "PEM `file` of the certificate for both listeners")
	f.StringVar(&cfg.TLSKey, "tls-key", "", "PEM `file` of its key")
	f.BoolVar(&cfg.SecureCookies, "secure-cookies", false, "a proxy before the settings page has TLS: have its cookies sent over TLS only")
	f.BoolVar(&cfg.AllowNonPublic, "allow-non-public", false, "accept private, loopback and other entries that are no public addresses")
	f.IntVar(&cfg.MaxEntries, "max-entries", cfg.MaxEntries, "entries an allowlist may have")
	f.IntVar(&cfg.MinBits4, "min-bits4", cfg.MinBits4, "shortest IPv4 prefix length an entry may have")
	f.IntVar(&cfg.MinBits6, "min-bits6", cfg.MinBits6, "shortest IPv6 prefix length an entry may have")
	f.StringVar(&logFormat, "log-format", "text", "text or json")
	f.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

const envPrefix = "IPALLOWD_"

// fromEnvironment gives every flag that is not on the command line its value
// from the environment.
func fromEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var fault error
	flags.VisitAll(func(f *pflag.Flag) {
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
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

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level: %q: want debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("--log-format: %q: want text or json", format)
}

// serve runs a server until ctx ends.
func serve(ctx context.Context, cfg server.Config, logger *slog.Logger, out io.Writer) error {
	s, err := server.Start(ctx, cfg, logger)
	if err != nil {
		return err
	}
	fmt.Fprint(out, s.Banner())
	select {
	case <-ctx.Done():
		logger.Info("stopping")
	case err = <-s.Failed():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if e := s.Close(stop); err == nil {
		err = e
	}
	return err
}
