// Command fleet shows a fleet in one terminal: three NATS servers as a cluster,
// a management node and three gateways, each a real process on this machine. It
// makes keys, changes their allowlists under load, measures how long a change
// takes until every gateway enforces it, kills what can be killed, and accounts
// for every request. The tests of the package do the same with more faults.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == natsCommand {
		if err := serveNATS(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = `A fleet in one terminal: a NATS cluster, a management node and three gateways.

It needs Go and nothing else, takes less than two minutes with the build, listens
on 127.0.0.1 only, and leaves nothing behind.

  go run ./examples/fleet                 all of it
  go run ./examples/fleet --short         a few seconds of each part
  go run ./examples/fleet --keys 20000    with more keys
  go run ./examples/fleet --keep          keep the directory with logs and data

Flags:
`

// run is the program. It returns the exit status: 0 when everything was as it
// must be, 1 when not, 2 for wrong flags.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	cfg := config{lasting: 5 * time.Second}
	var short bool
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.BoolVar(&short, "short", false, "a few seconds of each part")
	flags.BoolVar(&cfg.keep, "keep", false, "keep the directory with logs and data")
	flags.IntVar(&cfg.keys, "keys", 1000, "how many keys there are, 50 to 100000")
	flags.Usage = func() {
		fmt.Fprint(errOut, usage)
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0 || cfg.keys < 50 || cfg.keys > 100_000:
		fmt.Fprintln(errOut, "fleet: no arguments, and 50 to 100000 keys; see --help")
		return 2
	}
	if short {
		cfg.lasting = 2 * time.Second
	}
	if err := runIn(ctx, "", cfg, out); err != nil {
		fmt.Fprintln(errOut, "\nfleet:", err)
		return 1
	}
	return 0
}

// runIn shows the fleet in a directory that it makes below parent, or below the
// usual one, and removes.
func runIn(ctx context.Context, parent string, cfg config, out io.Writer) error {
	dir, err := os.MkdirTemp(parent, "ipallow-fleet-")
	if err != nil {
		return err
	}
	err = show(ctx, cfg, dir, out)
	if ctx.Err() != nil {
		err = errors.New("stopped")
	}
	if cfg.keep {
		fmt.Fprintf(out, "\nlogs and data are in %s\n", dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(dir))
}
