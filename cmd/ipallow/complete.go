package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/ipallow/ipallow/listfile"
)

var (
	listFormats = []string{"json", "csv", "text"}
	logFormats  = []string{"csv", "jsonl", "nginx"}
)

// completeValues has the shell offer the values of a flag.
func completeValues(cmd *cobra.Command, flag string, values ...string) {
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
}

// maxCompleted is the largest list file that is read for a completion.
const maxCompleted = 64 << 20

// completeLists has the shell offer the formats of list files and, once --lists
// is on the command line, the keys of that file.
func completeLists(cmd *cobra.Command) {
	completeValues(cmd, "format", listFormats...)
	if cmd.Flags().Lookup("key") == nil {
		return
	}
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("key", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		const none = cobra.ShellCompDirectiveNoFileComp
		path, _ := cmd.Flags().GetString("lists")
		format, _ := cmd.Flags().GetString("format")
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() > maxCompleted {
			return nil, none
		}
		lists, err := listfile.ReadFile(path, &listfile.Options{Format: format})
		if err != nil {
			return nil, none
		}
		var keys []string
		for i := range lists {
			if lists[i].Key != "" {
				keys = append(keys, lists[i].Key)
			}
		}
		return keys, none
	}))
}
