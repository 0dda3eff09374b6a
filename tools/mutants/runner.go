package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// runAll makes the chosen mutations one after another. Its error says what is wrong
// with how many of them, each of which has been reported on w by then.
func runAll(ctx context.Context, opts *options, all, chosen []*mutation, w io.Writer) error {
	started := time.Now()
	if err := checkAll(opts.root, all); err != nil {
		return err
	}
	shop, err := newWorkshop(opts.root)
	if err != nil {
		return err
	}
	defer shop.close()
	r := &runner{opts: opts, shop: shop, w: w, passes: make(map[variant]*outcome)}
	for i, m := range chosen {
		fmt.Fprintf(w, "[%d/%d] %s: %s ... ", i+1, len(chosen), m.list, m.text)
		err := r.one(ctx, m, chosen)
		if ctx.Err() != nil {
			fmt.Fprintln(w)
			return ctx.Err()
		}
		if err != nil {
			fmt.Fprintf(w, "FAILED\n%s\n", indent(err.Error()))
			r.faults = append(r.faults, m.at+": "+m.text)
		}
	}
	if len(r.faults) > 0 {
		fmt.Fprintf(w, "\nFailed:\n%s\n", strings.Join(r.faults, "\n"))
	}
	fmt.Fprintf(w, "\n%d of %d mutations were seen by their tests", r.killed, len(chosen))
	if r.timeouts > 0 {
		fmt.Fprintf(w, ", %d of them by a timeout", r.timeouts)
	}
	fmt.Fprintf(w, "; %.0f s\n", time.Since(started).Seconds())
	if n := len(r.faults); n > 0 {
		return fmt.Errorf("%d of %d mutations failed, %d of them survived", n, len(chosen), r.survived)
	}
	return nil
}

// checkAll checks every list whole, since that takes no time: code and tests that
// were renamed are then found by each run, however small its sample.
func checkAll(root string, all []*mutation) error {
	var faults []error
	for _, m := range all {
		_, err := apply(root, m)
		if err == nil {
			err = checkNames(root, m)
		}
		if err != nil {
			faults = append(faults, err)
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d mutations do not apply; nothing was run:\n%w", len(faults), len(all), errors.Join(faults...))
}

type runner struct {
	opts     *options
	shop     *workshop
	w        io.Writer
	passes   map[variant]*outcome // runs without a mutation
	killed   int
	timeouts int
	survived int
	faults   []string
}

// one makes m and prints how it was seen. The error says why it counts for nothing.
func (r *runner) one(ctx context.Context, m *mutation, chosen []*mutation) error {
	if err := r.passWithout(ctx, m, chosen); err != nil {
		return err
	}
	changed, err := apply(r.opts.root, m)
	if err != nil {
		return err
	}
	started := time.Now()
	o, err := r.shop.try(ctx, m.variant(), m.tests, changed, r.timeout(m))
	took := time.Since(started)
	switch {
	case m.refused && errors.Is(err, errBuild):
		r.killed++
		fmt.Fprintf(r.w, "does not compile, as it must not (%.1f s)\n", took.Seconds())
		return nil
	case err != nil:
		return err
	case m.refused:
		r.survived++
		return errors.New("SURVIVED: it must not compile, and does")
	}
	if r.opts.verbose {
		fmt.Fprintf(r.w, "\n%s\n", indent(o.output))
	}
	return r.judge(m, o, took)
}

func (r *runner) judge(m *mutation, o *outcome, took time.Duration) error {
	blind := intersect(m.tests, o.passed)
	switch {
	case o.status == nil:
		r.survived++
		return fmt.Errorf("SURVIVED: %s passed. A test is missing, or the change makes no difference", strings.Join(m.tests, ", "))
	case o.timeout:
		r.killed++
		r.timeouts++
		fmt.Fprintf(r.w, "killed by the timeout of %v\n", r.timeout(m))
		return nil
	case len(blind) > 0:
		return fmt.Errorf("the tests failed, but %s passed: correct \"tests:\"\n%s", strings.Join(blind, ", "), o.output)
	}
	r.killed++
	by := strings.Join(o.failed, ", ")
	if by == "" {
		by = "the end of the test program" // a panic of another goroutine
	}
	fmt.Fprintf(r.w, "killed by %s (%.1f s)\n", by, took.Seconds())
	return nil
}

// passWithout returns an error unless the tests of m pass without a mutation: that
// they fail with it says nothing otherwise. They run once for all that name them.
func (r *runner) passWithout(ctx context.Context, m *mutation, chosen []*mutation) error {
	v := m.variant()
	o := r.passes[v]
	if o == nil {
		var names []string
		var timeout time.Duration
		for _, other := range chosen {
			if other.variant() == v {
				names = append(names, other.tests...)
				timeout = max(timeout, r.timeout(other))
			}
		}
		slices.Sort(names)
		var err error
		if o, err = r.shop.try(ctx, v, slices.Compact(names), nil, 10*timeout); err != nil {
			return fmt.Errorf("without a mutation: %w", err)
		}
		r.passes[v] = o
	}
	for _, name := range m.tests {
		if !slices.Contains(o.passed, name) {
			return fmt.Errorf("%s does not pass without a mutation, so it says nothing\n%s", name, o.output)
		}
	}
	return nil
}

func (r *runner) timeout(m *mutation) time.Duration {
	if m.timeout > 0 {
		return m.timeout
	}
	return r.opts.timeout
}

func intersect(a, b []string) []string {
	var both []string
	for _, s := range a {
		if slices.Contains(b, s) {
			both = append(both, s)
		}
	}
	return both
}
