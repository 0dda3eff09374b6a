// Command ipallowd is the reference server of ipallow: a gateway that serves
// requests made with API keys from the addresses on their allowlists, and the
// settings page and API that manage both.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// The statuses that the program ends with.
const (
	exitOK     = 0
	exitFailed = 1 // it stopped because of an error
	exitUsage  = 2 // wrong flags or arguments
)

func main() {
	os.Exit(run(untilSignal(context.Background()), os.Args[1:], os.Stdout, os.Stderr))
}

// untilSignal returns a context that a signal to stop ends, with the signal as its
// cause. A second signal ends the program at once.
func untilSignal(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		s := <-signals
		signal.Stop(signals)
		cancel(signalled{s})
	}()
	return ctx
}

// signalled is the cause of a context that a signal has ended.
type signalled struct{ os.Signal }

func (s signalled) Error() string { return "signal: " + s.String() }

// A usageError is a fault of the command line or of the environment.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// run is the program: it returns the exit status when ctx ends or something
// fails.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	root := &cobra.Command{
		Use:   "ipallowd",
		Short: "Serve API keys only from the addresses on their allowlists",
		Long: `Serve API keys only from the addresses on their allowlists.

ipallowd is a gateway in front of an API (or an authorizer beside your own
proxy) and a settings page on which keys and their allowlists are edited. It
needs nothing else: everything it keeps is in one directory.`,
		Example: `  ipallowd serve
  ipallowd serve --upstream http://127.0.0.1:9000`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w\nsee \"%s --help\"", err, cmd.CommandPath())}
	})
	root.AddCommand(newServeCommand(), newGatewayCommand(), newFleetCommand())
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	started := false
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(errOut, "ipallowd:", err)
	var wrong usageError
	if errors.As(err, &wrong) || !started {
		return exitUsage
	}
	return exitFailed
}
