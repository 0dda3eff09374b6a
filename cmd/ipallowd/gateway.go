package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
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

With --nats-nkey, a key of "ipallowd fleet init", it has a NATS account of its own and
the name that the key was made for. A gateway that was taken over can then harm
no other one.

Until it knows the keys it answers every request with 503. When it loses NATS it
goes on by what it last knew; /readyz on --status-listen says so after
--max-stale. With --refuse-stale it answers requests with 503 beyond that age,
since a key may have been revoked meanwhile, also after a start from the
checkpoint. /healthz and /metrics are there too, /metrics without a token unless
--metrics-token-file names one: keep that listener away from the public.

The management node validates lists; a gateway enforces what that has accepted,
and has no policy of its own. Every flag can be given by the environment: --nats
is IPALLOWD_NATS.`,
		Example: `  ipallowd gateway --nats nats://10.20.0.5:4222 --upstream http://127.0.0.1:9000
  ipallowd gateway --nats tls://10.20.0.5:4222 --nats-ca ca.pem --nats-nkey gate-1.nk
  ipallowd gateway --nats nats://10.20.0.5:4222,nats://10.20.0.6:4222 --data /var/lib/ipallowd --listen :8080`,
		Args:    cobra.NoArgs,
		PreRunE: environment,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := log.logger(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			cfg.Fleet.Password = os.Getenv(envPrefix + "NATS_PASSWORD")
			if err := ownAccount(&cfg, cmd.Flags().Changed("name")); err != nil {
				return err
			}
			cfg.MetricsToken = os.Getenv(envPrefix + "METRICS_TOKEN")
			n, err := server.StartNode(cmd.Context(), cfg, logger)
			if err != nil {
				return err
			}
			return runUntil(cmd.Context(), n, cfg.Drain, logger, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	gatewayFlags(f, &cfg)
	policyFlags(f, &cfg)
	for _, name := range []string{"allow-non-public", "max-entries", "min-bits4", "min-bits6"} {
		// It was a flag here, and is in the units of those who set it.
		_ = f.MarkDeprecated(name, "it does nothing: the management node validates lists, and gateways enforce what it has accepted")
	}
	f.StringSliceVar(&cfg.Fleet.URLs, "nats", nil, "`URLs` of the fleet's NATS servers, such as nats://10.20.0.5:4222 (required)")
	f.Var((*size)(&cfg.LogMaxBytes), "log-max-bytes", "bound of the usage records on disk, of which an eighth waits for NATS; such as 500MiB or 20GiB. Default: a quarter of the disk, at most 4GiB")
	natsFlags(f, &cfg)
	f.StringVar(&cfg.Name, "name", cfg.Name, "`name` of this node in the fleet; the host's by default")
	f.StringVar(&cfg.StatusListen, "status-listen", cfg.StatusListen, "`address` of /healthz, /readyz and /metrics")
	f.DurationVar(&cfg.MaxStale, "max-stale", cfg.MaxStale, "how old what it knows may be until /readyz says that it is not ready")
	f.DurationVar(&cfg.RefuseStale, "refuse-stale", 0, "how old what it knows may be until requests are answered with 503, such as 10m; 0 goes on for ever")
	log.add(f)
	completeValues(cmd)
	return cmd
}

// ownAccount gives a gateway whose key "ipallowd fleet" made the name that the key
// is for: NATS lets it use no other one.
func ownAccount(cfg *server.Config, named bool) error {
	if cfg.Fleet.NKey == "" {
		return nil
	}
	name, err := fleet.KeyFileGateway(cfg.Fleet.NKey)
	switch {
	case err != nil:
		return usageError{fmt.Errorf("--nats-nkey: %w", err)}
	case name == "" && !named:
		return usageError{fmt.Errorf("--nats-nkey: %s does not say which gateway's key it is; give a key file of a gateway, or --name", cfg.Fleet.NKey)}
	case name != "" && named && name != cfg.Name:
		return usageError{fmt.Errorf("--name: %.80q: the key in --nats-nkey is that of the gateway %q", cfg.Name, name)}
	case name == "":
		name = cfg.Name
	}
	if !fleet.ValidGatewayName(name) {
		return usageError{fmt.Errorf("--name: %.80q: %w", name, fleet.ErrGatewayName)}
	}
	cfg.Name, cfg.Fleet.Gateway = name, name
	return nil
}

// managementKey refuses a gateway's key, with which the management could do
// nothing.
func managementKey(cfg *server.Config) error {
	if cfg.Fleet.NKey == "" {
		return nil
	}
	name, err := fleet.KeyFileGateway(cfg.Fleet.NKey)
	if err == nil && name != "" {
		err = fmt.Errorf("%s is the key of the gateway %q; the management's is management.nk", cfg.Fleet.NKey, name)
	}
	if err != nil {
		return usageError{fmt.Errorf("--nats-nkey: %w", err)}
	}
	return nil
}
