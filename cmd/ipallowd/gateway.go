package main

import (
	"github.com/spf13/cobra"

	"github.com/ipallow/ipallow/cmd/internal/server"
)

func newGatewayCommand() *cobra.Command {
	cfg := server.Defaults()
	cfg.Data = "ipallowd-gateway"
	var log logFlags
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Run a gateway of a fleet, without a database",
		Long: `Run a gateway of a fleet, without a database.

It learns of keys and allowlists through NATS JetStream from the management
node ("ipallowd serve --nats"), and sends its usage records back. It keeps what
it knows in DATA/checkpoint, so that it can start while NATS is down, and its
usage records in DATA/usage-wal until NATS has them.

Until it knows the keys it answers every request with 503. When it loses NATS it
goes on by what it last knew; /readyz on --status-listen says so after
--max-stale. /healthz and /metrics are there too, without a token: keep that
listener away from the public.

Give the policy (--allow-non-public, --max-entries, --min-bits4, --min-bits6) as
the management node has it: a list that the gateway's policy refuses is not put
into force. Every flag can be given by the environment: --nats is IPALLOWD_NATS.`,
		Example: `  ipallowd gateway --nats nats://10.20.0.5:4222 --upstream http://127.0.0.1:9000
  ipallowd gateway --nats nats://10.20.0.5:4222,nats://10.20.0.6:4222 --data /var/lib/ipallowd --listen :8080`,
		Args:    cobra.NoArgs,
		PreRunE: environment,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := log.logger(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			n, err := server.StartNode(cmd.Context(), cfg, logger)
			if err != nil {
				return err
			}
			return runUntil(cmd.Context(), n, logger, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	gatewayFlags(f, &cfg)
	f.StringSliceVar(&cfg.Fleet.URLs, "nats", nil, "`URLs` of the fleet's NATS servers, such as nats://10.20.0.5:4222 (required)")
	natsFlags(f, &cfg)
	f.StringVar(&cfg.Name, "name", cfg.Name, "`name` of this node in the fleet; the host's by default")
	f.StringVar(&cfg.StatusListen, "status-listen", cfg.StatusListen, "`address` of /healthz, /readyz and /metrics")
	f.DurationVar(&cfg.MaxStale, "max-stale", cfg.MaxStale, "how old what it knows may be until /readyz says that it is not ready")
	log.add(f)
	return cmd
}
