package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/server"
)

// adoptWait bounds how long NATS is waited for.
const adoptWait = 20 * time.Second

func newFleetAdoptCommand() *cobra.Command {
	cfg := server.Defaults()
	var yes bool
	cmd := &cobra.Command{
		Use:   "adopt",
		Short: "Make the keys of this data directory the fleet's",
		Long: `Make the keys of this data directory the fleet's.

The fleet has one management node. A server whose database is older than what
the fleet has, is another database, or is a copy that another server went on
with publishes nothing, takes no usage records, answers changes with 409 and
says why. This command ends that, once: it shows which keys would be accepted
again, which would be accepted from more addresses and which would be refused,
asks, and makes this database the fleet's. The server that was its management
node until then, if it runs, accepts no changes from that moment.

Stop the server of this directory first, and start it afterwards: it publishes
what differs.`,
		Example: `  ipallowd fleet adopt --data /var/lib/ipallowd --nats nats://10.20.0.5:4222`,
		Args:    cobra.NoArgs,
		PreRunE: environment,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cfg.Fleet.On() {
				return usageError{errors.New("--nats: name the servers of the fleet, such as nats://10.20.0.5:4222")}
			}
			if err := cfg.Fleet.Validate(); err != nil {
				return usageError{err}
			}
			cfg.Fleet.Server = cfg.Name
			in := bufio.NewReader(cmd.InOrStdin())
			ask := func() (bool, error) { return confirmed(in, cmd.OutOrStdout()) }
			if yes {
				ask = func() (bool, error) { return true, nil }
			}
			return adopt(cmd.Context(), &cfg, cmd.OutOrStdout(), ask)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Data, "data", cfg.Data, "`directory` of the database")
	f.StringSliceVar(&cfg.Fleet.URLs, "nats", nil, "`URLs` of the fleet's NATS servers (required)")
	natsFlags(f, &cfg)
	f.StringVar(&cfg.Name, "name", cfg.Name, "`name` of this server, for people; the host's by default")
	f.BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func adopt(ctx context.Context, cfg *server.Config, out io.Writer, ask func() (bool, error)) error {
	file := filepath.Join(cfg.Data, "ipallowd.db")
	svc, err := manage.OpenStored(ctx, file, false)
	if errors.Is(err, manage.ErrLocked) {
		return fmt.Errorf("stop the server of %s first: %w", cfg.Data, err)
	}
	if err != nil {
		return err
	}
	defer svc.Close()
	link, err := fleet.Connect(cfg.Fleet, "adoption", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer link.Close()
	wait, cancel := context.WithTimeout(ctx, adoptWait)
	defer cancel()
	if err := link.Await(wait); err != nil {
		return fmt.Errorf("--nats: %w", err)
	}
	for {
		a, err := fleet.Review(ctx, link, svc)
		if err != nil {
			return err
		}
		a.Print(out)
		ok, err := ask()
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("nothing was changed")
		}
		own, err := a.Make(ctx, link, svc)
		if errors.Is(err, fleet.ErrChanged) {
			fmt.Fprintf(out, "\nThe fleet's keys were changed meanwhile. What would change now:\n\n")
			continue
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "\nThis database is the fleet's now (number %d). Start its server: it publishes what differs.\n", own.Epoch)
		return nil
	}
}

// confirmed asks for a yes.
func confirmed(in *bufio.Reader, out io.Writer) (bool, error) {
	fmt.Fprint(out, "\nMake this database the fleet's? Type yes: ")
	line, err := in.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return strings.TrimSpace(line) == "yes", nil
}
