package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ipallow/ipallow/cmd/internal/backup"
	"github.com/ipallow/ipallow/cmd/internal/server"
)

func newBackupCommand() *cobra.Command {
	data := server.Defaults().Data
	var log bool
	cmd := &cobra.Command{
		Use:   "backup DIR",
		Short: "Copy a data directory, also while its server runs",
		Long: `Copy a data directory, also while its server runs.

DIR is made, with mode 0700, and has what a start needs: the keys, lists and
audit trail as of one moment, the administrator's token if the server made it,
and with --log the usage log. The copy is opened and checked. Nothing that
exists is overwritten. Run it as the user of the server.

Keep backups where you keep secrets: they have hashes of keys, names, addresses
and that token. "ipallowd restore" makes a data directory of one.`,
		Example: `  ipallowd backup --data /var/lib/ipallowd /backup/ipallowd-2026-11-30
  ipallowd backup --data /var/lib/ipallowd --log /backup/ipallowd-2026-11-30`,
		Args:    cobra.ExactArgs(1),
		PreRunE: environment,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := backup.Make(cmd.Context(), data, args[0], log)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s has %d keys, up to change number %d.\n", args[0], m.Keys, m.Change.Revision)
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", data, "`directory` to copy")
	cmd.Flags().BoolVar(&log, "log", false, "copy the usage log too")
	return cmd
}

func newRestoreCommand() *cobra.Command {
	data := server.Defaults().Data
	cmd := &cobra.Command{
		Use:   "restore BACKUP",
		Short: "Make a data directory of a backup",
		Long: `Make a data directory of a backup.

The directory must not exist, or be empty: stop the server and move the old one
away first. Each file of the backup is checked.

Keys that were revoked, and lists that were narrowed, since the backup was made
are as they were then: do that again. A restored management node of a fleet
publishes nothing until it is adopted ("ipallowd fleet adopt"), which shows what
differs.`,
		Example: `  ipallowd restore --data /var/lib/ipallowd /backup/ipallowd-2026-11-30`,
		Args:    cobra.ExactArgs(1),
		PreRunE: environment,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := backup.Restore(cmd.Context(), args[0], data)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s is as it was at %s UTC: %d keys, up to change number %d.\n", data, m.Made.UTC().Format("2006-01-02 15:04:05"), m.Keys, m.Change.Revision)
			fmt.Fprintln(out, "Revoke and narrow again what was revoked and narrowed since.")
			fmt.Fprintln(out, "If this is the management node of a fleet, run \"ipallowd fleet adopt\" before its server starts.")
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", data, "`directory` to make")
	return cmd
}
