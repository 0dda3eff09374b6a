package main

import (
	"context"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/visible"
	"github.com/ipallow/ipallow/listfile"
)

func newImportCommand() *cobra.Command {
	var to backendFlags
	var im importer
	var keysFile string
	cmd := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Load allowlists from a list file, and keys from another system",
		Long: `Load allowlists from a list file, and keys from another system.

FILE is JSON, CSV or text as "ipallowd export" and "ipallow suggest" write it and
"ipallow validate" reads it; - is the standard input. Its keys are identifiers of
active keys. Without --apply nothing is changed: what would change is shown,
with the addresses that would be locked out. Keys that are not in the file keep
their lists; a key with an empty list in it is served from everywhere.

--keys makes keys that exist elsewhere, so that their clients need no new ones. It
is a CSV file with the columns name and scopes ("read write"), if wanted
description and report_only, and one of these:

  token_sha256       for tokens of any form, such as sk_live_...: the SHA-256 of
                     the whole token, in hexadecimal. The key's identifier is
                     made of it. The tokens must be random (128 bits or more).
  id, secret_sha256  for keys of another ipallowd: clients go on sending
                     ipk_ID_SECRET, and the SHA-256 is that of SECRET.

Clients send the token as Authorization: Bearer TOKEN or X-API-Key: TOKEN. A key
gets its list of FILE, under its identifier or its name, in the same step. This
needs a data directory, not --url.

The exit status is 0 if all is well, 1 if something is wrong or nothing was
changed because of a lock-out, and 2 for wrong usage or files that cannot be
read.`,
		Example: `  ipallowd import lists.json
  ipallowd import --apply lists.json
  ipallowd import --url https://127.0.0.1:8081 --token-file ipallowd-data/admin-token lists.csv
  ipallowd import --data /var/lib/ipallowd --keys keys.csv --apply lists.json`,
		Args: cobra.MaximumNArgs(1),
	}
	to.add(cmd)
	f := cmd.Flags()
	f.BoolVar(&im.apply, "apply", false, "make the changes; without it they are only shown")
	f.BoolVar(&im.confirm, "confirm-lockout", false, "save lists also if they lock out addresses that are in use")
	f.StringVar(&keysFile, "keys", "", "CSV `file` of keys to make, with the SHA-256 of their secrets")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 && keysFile == "" {
			return usageError{errors.New("name a file of allowlists, or one of keys with --keys")}
		}
		if err := im.read(cmd.InOrStdin(), args, keysFile); err != nil {
			return usageError{err}
		}
		b, err := to.open(cmd)
		if err != nil {
			return err
		}
		im.b, im.out = b, visible.Writer(cmd.OutOrStdout())
		err = im.run(cmd.Context())
		if e := b.close(context.WithoutCancel(cmd.Context())); err == nil {
			err = e
		}
		return err
	}
	return cmd
}

// An importer makes lists and keys of files.
type importer struct {
	b              *backend
	out            io.Writer
	apply, confirm bool
	lists          []listfile.List
	known          []manage.KnownKey

	active  map[string]remoteKey
	changes []listChange
}

// A listChange is a list of the file that differs from the one in force.
type listChange struct {
	key       remoteKey
	entries   []listEntry
	etag      string
	lockedOut int
}

func (im *importer) read(in io.Reader, args []string, keysFile string) (err error) {
	switch {
	case len(args) == 0:
	case args[0] == "-":
		im.lists, err = listfile.Read("standard input", in, nil)
	default:
		im.lists, err = listfile.ReadFile(args[0], nil)
	}
	if err != nil || keysFile == "" {
		return err
	}
	f, err := os.Open(keysFile)
	if err != nil {
		return err
	}
	defer f.Close()
	im.known, err = readKeys(keysFile, f)
	return err
}

// readKeys reads a file of keys. Every fault is in the error.
func readKeys(name string, in io.Reader) ([]manage.KnownKey, error) {
	r := csv.NewReader(in)
	header, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("%s: the first line must name the columns; want name, scopes and token_sha256 (or id and secret_sha256): %w", name, err)
	}
	const want = "want name, scopes and token_sha256 (or id and secret_sha256), and if wanted description and report_only"
	column := make(map[string]int)
	for i, c := range header {
		c = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(c, "\ufeff")))
		if _, twice := column[c]; twice || !slices.Contains([]string{
			"id", "secret_sha256", "token_sha256", "name", "scopes", "description", "report_only",
		}, c) {
			return nil, fmt.Errorf("%s:1: the column %q is unknown or there twice; %s", name, c, want)
		}
		column[c] = i
	}
	needed, hash := []string{"id", "secret_sha256", "name", "scopes"}, "secret_sha256"
	_, foreign := column["token_sha256"]
	if foreign {
		needed, hash = []string{"name", "scopes"}, "token_sha256"
		for _, c := range []string{"id", "secret_sha256"} {
			if _, ok := column[c]; ok {
				return nil, fmt.Errorf("%s:1: the column %s does not go with token_sha256, of which the identifier is made", name, c)
			}
		}
	}
	for _, c := range needed {
		if _, ok := column[c]; !ok {
			return nil, fmt.Errorf("%s:1: the column %s is missing; %s", name, c, want)
		}
	}
	var keys []manage.KnownKey
	var faults []error
	lines := make(map[string]int)
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		line, _ := r.FieldPos(0)
		field := func(c string) string {
			if i, ok := column[c]; ok {
				return strings.TrimSpace(record[i])
			}
			return ""
		}
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("%s:%d: %s", name, line, fmt.Sprintf(format, args...)))
		}
		k := manage.KnownKey{ID: field("id"), NewKey: manage.NewKey{
			Name: field("name"), Description: field("description"), Scopes: strings.Fields(field("scopes")),
		}}
		switch field("report_only") {
		case "true", "1", "yes":
			k.ReportOnly = true
		case "", "false", "0", "no":
		default:
			fault("report_only is %q; write true or false", field("report_only"))
		}
		sum, err := hex.DecodeString(field(hash))
		if err != nil || len(sum) != len(k.Hash) {
			fault("%s is not a SHA-256 in hexadecimal, which has %d digits", hash, 2*len(k.Hash))
			continue
		}
		copy(k.Hash[:], sum)
		if foreign {
			k.ID = keyring.ForeignID(k.Hash)
		}
		if !keyring.ValidID(k.ID) {
			fault("id %q: an identifier is %d characters of a to z and 2 to 7, the part of a key between %s and the next _",
				k.ID, keyring.IDLen, keyring.Prefix)
		}
		if first, ok := lines[k.ID]; ok {
			fault("the key %q is in line %d already", k.ID, first)
		}
		lines[k.ID] = line
		keys = append(keys, k)
	}
	if len(keys) == 0 && len(faults) == 0 {
		return nil, fmt.Errorf("%s: the file has no key", name)
	}
	return keys, errors.Join(faults...)
}

func (im *importer) run(ctx context.Context) error {
	if len(im.known) > 0 && im.b.stored == nil {
		return usageError{errors.New("--keys needs the data directory: stop the server and give --data in place of --url")}
	}
	var err error
	if im.active, err = im.b.keys(ctx); err != nil {
		return err
	}
	if err := errors.Join(im.planKeys(ctx), im.planLists(ctx)); err != nil {
		return fmt.Errorf("nothing was changed:\n%w", err)
	}
	lockedOut := 0
	for _, c := range im.changes {
		lockedOut += c.lockedOut
	}
	switch n := len(im.known) + len(im.changes); {
	case n == 0:
		_, err = fmt.Fprintln(im.out, "Everything is as in the file; nothing to change.")
		return err
	case !im.apply:
		_, err = fmt.Fprintf(im.out, "\nNothing was changed. --apply makes %s.\n"+
			"Addresses in use are known from 7 days of the usage log; watch the blocked requests after the change.\n",
			plural(n, "change", "changes"))
		return err
	case lockedOut > 0 && !im.confirm:
		return fmt.Errorf("nothing was changed: %s in use would be locked out; add them, or give --confirm-lockout",
			plural(lockedOut, "address", "addresses"))
	}
	return im.commit(ctx)
}

// planKeys shows the keys that would be made, and gives them their lists.
func (im *importer) planKeys(ctx context.Context) error {
	if len(im.known) == 0 {
		return nil
	}
	names := make(map[string]int)
	for _, k := range im.known {
		names[k.Name]++
	}
	for i := range im.known {
		k := &im.known[i]
		access := "served from everywhere"
		if l := im.listOf(k, names[k.Name] == 1); l != nil && len(l.Items) > 0 {
			for _, it := range l.Items {
				k.Allowlist = append(k.Allowlist, manage.ListEntry(it.EntryText))
			}
			access = plural(len(l.Items), "entry", "entries")
		}
		fmt.Fprintf(im.out, "+ key %s %q: %s\n", k.ID, k.Name, access)
	}
	return im.b.stored.Manager.ImportKnown(ctx, importActor, im.known, true)
}

// listOf returns the list of the file for a key that is made, or nil: the one under its
// identifier, or its name if no other key has that.
func (im *importer) listOf(k *manage.KnownKey, byName bool) (found *listfile.List) {
	for i := range im.lists {
		l := &im.lists[i]
		if l.Key == k.ID || byName && l.Key == k.Name && found == nil {
			found = l
		}
	}
	return found
}

// importActor is who an import is in the audit trail.
var importActor = manage.Actor{Name: "import"}

// planLists shows how the lists of active keys would change. Every fault is in
// the error.
func (im *importer) planLists(ctx context.Context) error {
	made := make(map[string]bool)
	names := make(map[string]int)
	for _, k := range im.known {
		made[k.ID] = true
		names[k.Name]++
	}
	for name, n := range names {
		made[name] = made[name] || n == 1
	}
	var faults []error
	for i := range im.lists {
		l := &im.lists[i]
		if made[l.Key] {
			continue
		}
		k, ok := im.active[l.Key]
		if !ok {
			faults = append(faults, fmt.Errorf("%s: no active key has the identifier %q%s", l.Pos, l.Key, im.meant(l.Key)))
			continue
		}
		if err := im.planList(ctx, k, l); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// meant names the keys whose name was given in place of the identifier.
func (im *importer) meant(text string) string {
	for _, id := range slices.Sorted(maps.Keys(im.active)) {
		if im.active[id].Name == text {
			return fmt.Sprintf("; the one of the key named so is %q", id)
		}
	}
	return ""
}

func (im *importer) planList(ctx context.Context, k remoteKey, l *listfile.List) error {
	now, err := im.b.list(ctx, k.ID)
	if err != nil {
		return fmt.Errorf("%s: key %s: %w", l.Pos, k.ID, err)
	}
	want := make([]listEntry, len(l.Items))
	for i, it := range l.Items {
		want[i] = listEntry{canonical(it.Entry), it.Label}
	}
	if slices.Equal(want, now.Entries) {
		return nil
	}
	var trial struct {
		Lockout   int `json:"lockout_total"`
		Addresses []struct {
			Address netip.Addr `json:"address"`
		} `json:"lockout_addresses"`
	}
	_, err = im.b.do(ctx, "POST", "/api/v1/keys/"+k.ID+"/allowlist/check", "", map[string]any{"entries": want}, &trial)
	var refused *answerError
	if errors.As(err, &refused) && len(refused.Faults) > 0 {
		var faults []error
		for _, f := range refused.Faults {
			pos := l.Pos
			if f.Index >= 0 && f.Index < len(l.Items) {
				pos = l.Items[f.Index].Pos
			}
			faults = append(faults, fmt.Errorf("%s: %q: %s: %s", pos, f.Input, f.Code, f.Reason))
		}
		return errors.Join(faults...)
	}
	if err != nil {
		return fmt.Errorf("%s: key %s: %w", l.Pos, k.ID, err)
	}
	fmt.Fprintf(im.out, "key %s %q\n", k.ID, k.Name)
	for _, e := range now.Entries {
		if !slices.Contains(want, e) {
			fmt.Fprintf(im.out, "  - %s\n", e)
		}
	}
	for _, e := range want {
		if !slices.Contains(now.Entries, e) {
			fmt.Fprintf(im.out, "  + %s\n", e)
		}
	}
	switch {
	case len(want) == 0:
		fmt.Fprintln(im.out, "  It would be SERVED FROM EVERYWHERE: the list in the file is empty.")
	case len(now.Entries) == 0:
		fmt.Fprintln(im.out, "  It is served from everywhere now.")
	}
	if trial.Lockout > 0 {
		var some []string
		for _, a := range trial.Addresses[:min(5, len(trial.Addresses))] {
			some = append(some, a.Address.String())
		}
		fmt.Fprintf(im.out, "  This LOCKS OUT %s in use: %s\n", plural(trial.Lockout, "address", "addresses"), strings.Join(some, ", "))
	}
	im.changes = append(im.changes, listChange{k, want, now.etag, trial.Lockout})
	return nil
}

// canonical is an entry as the server stores it, or the text itself where it is
// none; the server says what is wrong with that.
func canonical(text string) string {
	if e, err := ipallow.ParseEntry(text); err == nil {
		return e.String()
	}
	return text
}

func (e listEntry) String() string {
	if e.Label == "" {
		return e.Entry
	}
	return fmt.Sprintf("%s (%q)", e.Entry, e.Label)
}

// commit makes the changes, each key in one step.
func (im *importer) commit(ctx context.Context) error {
	if len(im.known) > 0 {
		if err := im.b.stored.Manager.ImportKnown(ctx, importActor, im.known, false); err != nil {
			return fmt.Errorf("nothing was changed: %w", err)
		}
	}
	for i, c := range im.changes {
		var saved remoteList
		_, err := im.b.do(ctx, "PUT", "/api/v1/keys/"+c.key.ID+"/allowlist", c.etag,
			map[string]any{"entries": c.entries, "confirm_lockout": im.confirm}, &saved)
		if err != nil {
			return fmt.Errorf("%s made; key %s failed, and what follows was not tried: %w",
				plural(len(im.known)+i, "change was", "changes were"), c.key.ID, err)
		}
	}
	_, err := fmt.Fprintf(im.out, "\n%s made.\n", plural(len(im.known)+len(im.changes), "change was", "changes were"))
	return err
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
