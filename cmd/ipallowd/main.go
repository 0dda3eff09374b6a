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
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ipallow/ipallow/cmd/internal/alike"
	"github.com/ipallow/ipallow/cmd/internal/visible"
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
// cause. A second signal ends the program at once, unless what it runs takes signals too.
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
  ipallowd serve --upstream http://127.0.0.1:9000
  ipallowd export > lists.json
  ipallowd import lists.json`,
		Version: version(),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return fmt.Errorf("there is no command %q%s\nsee \"ipallowd --help\"", args[0], alike.DidYouMean(cmd.SuggestionsFor(args[0])))
		},
		SuggestionsMinimumDistance: 2,

		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if len(args) > 0 && !cmd.HasParent() && !strings.HasPrefix(args[0], "-") {
			return usageError{cmd.Args(cmd, args[:1])} // that is why the flag is unknown
		}
		return usageError{fmt.Errorf("%w\nsee \"%s --help\"", err, cmd.CommandPath())}
	})
	root.AddCommand(newServeCommand(), newGatewayCommand(), newFleetCommand(), newExportCommand(), newImportCommand(),
		newBackupCommand(), newRestoreCommand())
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	started := false
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(visible.Writer(errOut), "ipallowd:", err) // it may quote what others wrote
	var wrong usageError
	if errors.As(err, &wrong) || !started {
		return exitUsage
	}
	return exitFailed
}

// version is that of the module, or of the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && info.Main.Version == "(devel)" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return info.Main.Version
}
