package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/ipallow/ipallow/cmd/internal/server"
)

func newServeCommand() *cobra.Command {
	cfg := server.Defaults()
	var log logFlags
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
address, and put TLS in front or give --tls-cert. It can be asked for by any
address, localhost, this machine's name and the names of --tls-cert; others, such
as that of a proxy in front, are given by --host.

With --nats this is the management node of a fleet: any number of gateways
("ipallowd gateway") learn of keys and allowlists through NATS JetStream and
send their usage records back. Without it nothing of the kind is needed. Whoever
has rights in that NATS account is trusted with every key, unless "ipallowd
fleet init" made the servers' configuration and this node's --nats-nkey.

SIGTERM makes it unready (/readyz), and it goes on to answer for --drain before it
stops. A second signal cuts off what still runs. Every flag can be given by the environment: --admin-listen is
IPALLOWD_ADMIN_LISTEN. The administrator's token comes from
IPALLOWD_ADMIN_TOKEN, or is made at the first start into DATA/admin-token.`,
		Example: `  ipallowd serve
  ipallowd serve --upstream http://127.0.0.1:9000 --trusted-proxies 10.20.0.0/24
  ipallowd serve --nats nats://10.20.0.5:4222,nats://10.20.0.6:4222 --nats-replicas 3
  IPALLOWD_DATA=/var/lib/ipallowd ipallowd serve --listen :8080`,
		Args:    cobra.NoArgs,
		PreRunE: environment,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := log.logger(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			cfg.Given = cmd.Flags().Changed
			cfg.AdminToken, cfg.MetricsToken = os.Getenv(envPrefix+"ADMIN_TOKEN"), os.Getenv(envPrefix+"METRICS_TOKEN")
			cfg.Fleet.Password = os.Getenv(envPrefix + "NATS_PASSWORD")
			if err := managementKey(&cfg); err != nil {
				return err
			}
			s, err := server.Start(cmd.Context(), cfg, logger)
			if err != nil {
				return err
			}
			return runUntil(cmd.Context(), s, cfg.Drain, logger, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	gatewayFlags(f, &cfg)
	policyFlags(f, &cfg)
	f.StringVar(&cfg.AdminListen, "admin-listen", cfg.AdminListen, "`address` of the settings page and the management API")
	f.Var((*days)(&cfg.LogRetention), "log-retention", "how long usage records are kept, such as 30d or 12h; 0 keeps them for ever")
	f.Var((*size)(&cfg.LogMaxBytes), "log-max-bytes", "most of the disk that the usage log takes, such as 500MiB or 20GiB; the oldest records go first, of the node that has most. Default: a quarter of the disk, at most 4GiB")
	f.BoolVar(&cfg.AcceptOlder, "accept-older-state", false, "start once with a database that lacks changes which were acknowledged; keys that they revoked are served again")
	f.BoolVar(&cfg.SecureCookies, "secure-cookies", false, "a proxy before the settings page has TLS: have its cookies sent over TLS only")
	f.StringSliceVar(&cfg.Fleet.URLs, "nats", nil, "`URLs` of the NATS servers of a fleet, such as nats://10.20.0.5:4222; none by default")
	natsFlags(f, &cfg)
	f.IntVar(&cfg.Fleet.Replicas, "nats-replicas", cfg.Fleet.Replicas, "NATS servers that keep a copy of buckets and stream, 1 to 5; 3 for a cluster; 0 leaves what exists as it is")
	log.add(f)
	completeValues(cmd)
	return cmd
}
