package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// A config is what the flags say.
type config struct {
	keep    bool
	keys    int
	lasting time.Duration // of each rate of changes
}

// A screen is where the progress goes.
type screen struct {
	out   io.Writer
	began time.Time
}

// step does one thing and says how long it took.
func (s *screen) step(what string, f func() (more string, err error)) error {
	fmt.Fprintf(s.out, "  %-47s", what)
	began := time.Now()
	more, err := f()
	if err != nil {
		fmt.Fprintln(s.out, "failed")
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Fprintf(s.out, "%7s  %s\n", seconds(time.Since(began)), more)
	return nil
}

func (s *screen) head(text string) {
	fmt.Fprintf(s.out, "\n%s (at %s)\n\n", text, seconds(time.Since(s.began)))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// thousands writes 12345 as 12,345.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// show runs the fleet in dir and writes to out what happens.
func show(ctx context.Context, cfg config, dir string, out io.Writer) error {
	s := &screen{out, time.Now()}
	fmt.Fprintln(out, "A fleet in one terminal: three NATS servers, a management node and three gateways, all on this machine.")
	fmt.Fprintln(out)
	var f *fleet
	err := s.step("build ipallowd", func() (string, error) {
		binary, err := build(ctx, dir)
		if err != nil {
			return "", err
		}
		f, err = newFleet(dir, binary, nil)
		return "", err
	})
	if err != nil {
		return err
	}
	defer f.stop()
	if err := f.setUp(ctx, s, cfg.keys); err != nil {
		return err
	}
	loaded, stop := context.WithCancel(ctx)
	wait := load(loaded, f.caller, f.gateways, f.pick, 200)
	err = f.act(ctx, s, cfg)
	stop()
	wait()
	if err != nil {
		return err
	}
	return f.account(ctx, s)
}

// setUp starts everything and makes the keys.
func (f *fleet) setUp(ctx context.Context, s *screen, keys int) error {
	start, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := s.step("start a NATS cluster of three", func() (string, error) { return "", f.startNATS(start) })
	if err != nil {
		return err
	}
	err = s.step("start the management node and three gateways", func() (string, error) {
		err := f.startNodes(start)
		return "settings at " + f.management.url("settings") + "/login", err
	})
	if err != nil {
		return err
	}
	return s.step(fmt.Sprintf("make %s keys, each with an allowlist", thousands(keys)), func() (string, error) {
		var err error
		if f.keys, err = makeKeys(ctx, f.manager, keys); err != nil {
			return "", err
		}
		return "and every gateway enforces them", f.enforced(start, f.sample(200))
	})
}

// act changes lists and kills processes.
func (f *fleet) act(ctx context.Context, s *screen, cfg config) error {
	s.head("Changes under load: from the acknowledgement until the last of three gateways enforces")
	const columns = "  %16s %8s %8s %8s %10s %10s %10s\n"
	fmt.Fprintf(s.out, columns, "changes a second", "reached", "made", "watched", "p50", "p99", "max")
	for _, rate := range []int{1, 100, 1000} {
		p, err := f.propagate(ctx, rate, cfg.lasting)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, columns, thousands(rate), thousands(int(p.reached+0.5)), thousands(p.changes), thousands(len(p.times)),
			ms(p.at(0.5)), ms(p.at(0.99)), ms(p.at(1)))
	}

	s.head("kill -9, while requests go on")
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := s.step("kill the NATS server that leads", func() (string, error) {
		name, healed, err := f.killLeader(limit)
		return fmt.Sprintf("it was %s; changes were in force everywhere %s after", name, seconds(healed)), err
	})
	if err != nil {
		return err
	}
	err = s.step("kill the management node in mid-change", func() (string, error) {
		n, healed, err := f.killManagement(limit, time.Second/2)
		return fmt.Sprintf("%s changes acknowledged, all in force %s after its new start", thousands(n), seconds(healed)), err
	})
	if err != nil {
		return err
	}
	return s.step("kill a gateway", func() (string, error) {
		g := f.gateways[1]
		healed, err := f.killOneGateway(limit, g)
		return fmt.Sprintf("it was %s; it enforced what it had missed %s after its new start", g.name, seconds(healed)), err
	})
}

// account says what became of every request.
func (f *fleet) account(ctx context.Context, s *screen) error {
	s.head("In the end")
	limit, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var r reckoning
	err := s.step("wait for the usage log", func() (_ string, err error) {
		r, err = f.book.reckon(limit, f.manager)
		return "", err
	})
	t := f.book.tally()
	fmt.Fprintf(s.out, "\n  requests sent            %s: %s; %d without an answer\n", thousands(t.sent), t, t.failed)
	fmt.Fprintf(s.out, "  from refused addresses   %s\n", thousands(t.probes))
	fmt.Fprintf(s.out, "  requests by refused addresses that were served: %d\n", len(t.served))
	fmt.Fprintf(s.out, "  usage records            %s in the log; of %s answers due, %d missing, %d twice\n", thousands(r.records), thousands(r.due), r.missing, r.twice)
	if r.excused > 0 {
		fmt.Fprintf(s.out, "                           %s answers of a gateway came within %v before its kill -9 and are not promised; %d of them are not there\n",
			thousands(r.excused), settled, r.lost)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	var view fleetView
	err = s.step("wait until every node reports that it is ready", func() (_ string, err error) {
		view, err = f.manager.allReady(limit, 1+len(f.gateways))
		return "", err
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	view.write(s.out)
	fmt.Fprintf(s.out, "\nAll of it took %s.\n", seconds(time.Since(s.began)))
	if len(t.served) > 0 {
		return errors.New("a refused address was served: " + t.served[0])
	}
	return nil
}
