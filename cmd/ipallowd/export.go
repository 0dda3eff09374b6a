package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ipallow/ipallow/cmd/internal/visible"
)

func newExportCommand() *cobra.Command {
	var from backendFlags
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the allowlists of all active keys as a list file",
		Long: `Write the allowlists of all active keys to the standard output, as the JSON
that "ipallow" reads and "ipallowd import" takes: {"keys": {ID: [{"entry": ...,
"label": ...}]}}, ordered by identifier, a key a line. Keys without an allowlist
are not in it. It has no secret.

The keys are those of a running server (--url, with its token), or of the data
directory of one that does not run (--data).`,
		Example: `  ipallowd export --data /var/lib/ipallowd > lists.json
  ipallowd export --url https://127.0.0.1:8081 --token-file ipallowd-data/admin-token > lists.json
  ipallowd export | ipallow audit --lists - access.log`,
		Args: cobra.NoArgs,
	}
	from.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		b, err := from.open(cmd)
		if err != nil {
			return err
		}
		listed, open, err := export(cmd.Context(), b, cmd.OutOrStdout())
		if e := b.close(context.WithoutCancel(cmd.Context())); err == nil {
			err = e
		}
		if err == nil && listed == 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "ipallowd: warning: no active key has an allowlist, so the file has none")
		}
		if err == nil && open > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "ipallowd: keys without an allowlist, which are served from everywhere and are not in the file: %d\n", open)
		}
		return err
	}
	return cmd
}

// export returns how many keys have a list, and how many have none.
func export(ctx context.Context, b *backend, w io.Writer) (listed, open int, err error) {
	keys, err := b.keys(ctx)
	if err != nil {
		return 0, 0, err
	}
	out := bufio.NewWriter(w)
	fmt.Fprint(out, `{"keys": {`)
	sep := "\n"
	for _, id := range slices.Sorted(maps.Keys(keys)) {
		if !keys[id].Restricted {
			open++
			continue
		}
		l, err := b.list(ctx, id)
		if err != nil {
			return 0, 0, fmt.Errorf("key %s: %w", id, err)
		}
		if len(l.Entries) == 0 {
			open++ // meanwhile
			continue
		}
		text, err := json.Marshal(l.Entries)
		if err != nil {
			return 0, 0, err
		}
		fmt.Fprintf(out, "%s%q: %s", sep, id, visible.JSON(text))
		sep = ",\n"
		listed++
	}
	fmt.Fprint(out, "\n}}\n")
	return listed, open, out.Flush()
}
