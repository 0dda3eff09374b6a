package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/demo"
	"github.com/spf13/cobra"
)

func init() { commands = append(commands, newDemoCommand) }

// demoMark is the file that marks a directory as one that the demo may write.
const demoMark = "made-by-ipallow-demo"

func newDemoCommand() *cobra.Command {
	var (
		dir            string
		keys, requests int
		seed           uint64
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Try it on real networks: 10,000 lists, a million requests",
		Long: `Try it on real networks: 10,000 lists, a million requests.

demo makes allowlists from networks that cloud providers publish and a week's
log of requests, writes both to a directory, and audits the log as you would. A
few keys have leaked and are used from elsewhere, some have no list, and some
entries are never used. The files stay, so that you can try other commands.`,
		Example: `  ipallow demo
  ipallow demo --dir /tmp/demo --keys 100 --requests 10000 --seed 7`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&dir, "dir", "ipallow-demo", "`directory` for the files")
	cmd.Flags().IntVar(&keys, "keys", 10_000, "`number` of keys")
	cmd.Flags().IntVar(&requests, "requests", 1_000_000, "`number` of requests")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "the same `seed` makes the same files")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if keys < 1 || requests < 1 {
			return usage(errors.New("--keys and --requests must be at least 1"))
		}
		if err := claim(dir); err != nil {
			return usage(err)
		}
		out, ctx := cmd.OutOrStdout(), cmd.Context()
		d, err := demo.New(ctx, keys, seed)
		if err != nil {
			return err
		}
		lists, log := filepath.Join(dir, "lists.json"), filepath.Join(dir, "requests.csv")
		started := time.Now()
		var listed, entries int
		if err := create(lists, func(w io.Writer) (err error) {
			listed, entries, err = d.WriteLists(until{ctx, w})
			return err
		}); err != nil {
			return err
		}
		fmt.Fprintf(out, "wrote %s: %d lists with %d published networks, for %d keys (%.1f s)\n",
			lists, listed, entries, keys, time.Since(started).Seconds())
		started = time.Now()
		if err := create(log, func(w io.Writer) error { return d.WriteLog(until{ctx, w}, requests) }); err != nil {
			return err
		}
		fmt.Fprintf(out, "wrote %s: %d requests of a week (%.1f s)\n", log, requests, time.Since(started).Seconds())

		args := []string{"audit", "--lists", lists, log}
		fmt.Fprintf(out, "\n$ ipallow %s\n\n", strings.Join(args, " "))
		if code := run(cmd.Context(), args, cmd.InOrStdin(), out, cmd.ErrOrStderr()); code != exitOK {
			return result(code)
		}
		_, err = fmt.Fprintf(out, `
The files stay in %s. Try also:
  ipallow validate %s
  ipallow audit --top 30 --lists %s %s
  ipallow suggest %s | head -40
`, dir, lists, lists, log, log)
		return err
	}
	return cmd
}

// claim makes the directory, or takes one that the demo made before.
func claim(dir string) error {
	files, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	mark := filepath.Join(dir, demoMark)
	if _, err := os.Stat(mark); err != nil && len(files) > 0 {
		return fmt.Errorf("%s has files that are not the demo's; name another directory with --dir", dir)
	}
	return os.WriteFile(mark, []byte("ipallow demo may overwrite lists.json and requests.csv here.\n"), 0o644)
}

// An until writes until its context ends, so that Ctrl-C ends a demo that writes
// a large log.
type until struct {
	ctx context.Context
	w   io.Writer
}

func (u until) Write(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.w.Write(b)
}

func create(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		os.Remove(path) // half a file would be taken for a whole one
		return fmt.Errorf("%s: %w", path, err)
	}
	return f.Close()
}
