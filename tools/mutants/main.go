// Mutants makes faults in the code on purpose and fails if the tests do not see
// one. Each fault, a mutation, is a block of a list in the directory lists: what
// goes wrong in one sentence, a change in the manner of a patch, and the tests
// that must fail with it.
//
// The tree itself is not written to: the compiler is given the changed files in
// the place of the real ones (the go command's -overlay).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

const usage = `Mutants makes faults in the code on purpose, one after another, and runs the
tests that must see them. It fails if a fault is not seen, if its change no longer
applies or does not compile, and if a test fails without any fault.

  make mutants                                       all of them
  make mutants MUTANTS='--match clientip'            those of one list
  make mutants MUTANTS='--match "host bits" -v'      by words, with the tests' output
  make mutants MUTANTS='--list'                      their names; checks that all still apply
  make mutants MUTANTS='--sample 10 --seed abc'      ten; the same ten for the same seed

How one is written is in tools/mutants/lists/README.md. Status: 0, 1 if a fault was
not seen or could not be made, 2 for wrong arguments, 130 after Ctrl-C.

  mutants [flags] [list.txt ...]
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

type options struct {
	root    string
	lists   []string
	match   *regexp.Regexp
	sample  int
	seed    string
	list    bool
	verbose bool
	timeout time.Duration
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	opts, err := parseArgs(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "mutants: %v\n", err)
		return 2
	}
	all, err := readLists(opts)
	if err != nil {
		fmt.Fprintf(stderr, "%v\n", err)
		return 1
	}
	chosen := choose(all, opts)
	if len(chosen) == 0 {
		fmt.Fprintf(stderr, "mutants: none of the %d mutations matches %q\n", len(all), strings.TrimPrefix(opts.match.String(), "(?i)"))
		return 2
	}
	if opts.list {
		if err := checkAll(opts.root, all); err != nil {
			fmt.Fprintf(stderr, "mutants: %v\n", err)
			return 1
		}
		for _, m := range chosen {
			fmt.Fprintf(stdout, "%s: %s\n", m.list, m.text)
		}
		return 0
	}
	if opts.sample > 0 {
		fmt.Fprintf(stdout, "%d of %d mutations; the same ones again: make mutants MUTANTS='--sample %d --seed %s'\n",
			len(chosen), len(all), opts.sample, opts.seed)
	}
	err = runAll(ctx, opts, all, chosen, stdout)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "mutants: interrupted")
		return 130
	case err != nil:
		fmt.Fprintf(stderr, "mutants: %v\n", err)
		return 1
	}
	return 0
}

func parseArgs(args []string, stderr io.Writer) (*options, error) {
	var opts options
	var match string
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage+"\n")
		flags.PrintDefaults()
	}
	flags.StringVar(&match, "match", "", "only mutations whose `regexp` is in \"list: sentence\", in any case")
	flags.IntVar(&opts.sample, "sample", 0, "only so `many`, chosen by the seed; that all apply is checked all the same")
	flags.StringVar(&opts.seed, "seed", "1", "any `text`, for --sample")
	flags.BoolVar(&opts.list, "list", false, "print the mutations, and run nothing but the check that they apply")
	flags.BoolVar(&opts.verbose, "v", false, "print what the tests say of each mutation")
	flags.DurationVar(&opts.timeout, "timeout", time.Minute, "for the tests of one mutation, where its list has no other")
	flags.StringVar(&opts.root, "root", "", "the `directory` of the tree; default: the one above that has a go.work")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if opts.sample < 0 {
		return nil, errors.New("--sample: want a number that is not negative")
	}
	var err error
	if opts.match, err = regexp.Compile("(?i)" + match); err != nil {
		return nil, fmt.Errorf("--match: %w", err)
	}
	if opts.root, err = treeRoot(opts.root); err != nil {
		return nil, err
	}
	opts.lists = flags.Args()
	if len(opts.lists) == 0 {
		opts.lists, _ = filepath.Glob(filepath.Join(opts.root, "tools/mutants/lists/*.txt"))
	}
	if len(opts.lists) == 0 {
		return nil, fmt.Errorf("no lists in %s/tools/mutants/lists", opts.root)
	}
	return &opts, nil
}

// treeRoot returns dir, or the nearest directory above the present one that has a
// go.work, as the go command spells it: without symbolic links.
func treeRoot(dir string) (string, error) {
	if dir == "" {
		at, err := os.Getwd()
		if err != nil {
			return "", err
		}
		for dir = at; ; dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
				break
			}
			if dir == filepath.Dir(dir) {
				return "", fmt.Errorf("no go.work in %s or above; give --root", at)
			}
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

func readLists(opts *options) ([]*mutation, error) {
	var all []*mutation
	var faults []error
	for _, path := range opts.lists {
		src, err := os.ReadFile(path)
		if err != nil {
			faults = append(faults, fmt.Errorf("mutants: %w", err))
			continue
		}
		ms, err := parseList(path, string(src))
		if err != nil {
			faults = append(faults, err)
		}
		all = append(all, ms...)
	}
	return all, errors.Join(faults...)
}

// choose returns the mutations that match, or a sample of them, in the order of the
// lists, so that those of one package come together.
func choose(all []*mutation, opts *options) []*mutation {
	var at []int
	for i, m := range all {
		if opts.match.MatchString(m.list + ": " + m.text) {
			at = append(at, i)
		}
	}
	if opts.sample > 0 && opts.sample < len(at) {
		h := fnv.New64a()
		io.WriteString(h, opts.seed)
		rng := rand.New(rand.NewPCG(h.Sum64(), 0))
		rng.Shuffle(len(at), func(i, j int) { at[i], at[j] = at[j], at[i] })
		at = at[:opts.sample]
		slices.Sort(at)
	}
	chosen := make([]*mutation, len(at))
	for i, j := range at {
		chosen[i] = all[j]
	}
	return chosen
}

// listName is the name by which a list's mutations are shown and matched.
func listName(path string) string { return strings.TrimSuffix(filepath.Base(path), ".txt") }
