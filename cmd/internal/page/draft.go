package page

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// A draft is a list as a form shows it: rows that may be faulty or empty, not
// saved yet. Everything that a browser must remember between two steps is in
// the form itself.
type draft struct {
	Rows       []row
	Faults     []string // of the list as a whole
	Paste      string   // lines to be added
	PasteFault string   // why they were not
	Test       string   // an address to be tried
	Result     *trial
	Caller     netip.Addr // the caller's own address, to offer
	Known      bool       // the caller's own address is in the list
	Joined     *joined    // networks to take in the place of too many entries
	Focus      string     // what the browser should focus: "rows", "paste", "test", "faults"
}

// A row is one entry of a draft.
type row struct {
	Entry, Label string
	Faults       []fault
	Warning      string // it is legal, but not needed
	New          bool   // added by the step that led here
	Focus        bool
}

// A fault is something wrong with a row, with entries that may be meant.
type fault struct {
	Text string
	Try  []string // one of them is meant
	All  []string // together they are what is meant
}

// A trial is the verdict on the address that was tried.
type trial struct {
	Addr    string
	Fault   string // it is not an address, or the list is faulty
	OK      bool
	Open    bool // served because the list is empty
	Row     int  // the entry that matched, from 1
	Entry   string
	Label   string
	Addable bool
}

// maxEdited is the longest list that the page edits; longer ones, which an
// operator's policy may allow, are for the API.
const maxEdited = 1000

// maxRows bounds what a form may bring: a list that is as long as the policy
// allows may be replaced by a paste of the same length before it is shortened.
func (p *Page) maxRows() int { return 2*min(max(p.Policy.MaxEntries, 0), maxEdited) + 100 }

// maxForm bounds the bytes of such a form: a label of 100 characters has up to
// 1,200 when it is percent-encoded.
func (p *Page) maxForm() int64 { return 64<<10 + int64(p.maxRows())*2048 }

// readDraft takes the rows of a form.
func (p *Page) readDraft(r *http.Request) (*draft, error) {
	entries, labels := r.PostForm["entry"], r.PostForm["label"]
	if len(entries) != len(labels) || len(entries) > p.maxRows() {
		return nil, errForm
	}
	d := &draft{Paste: r.PostForm.Get("paste"), Test: strings.TrimSpace(r.PostForm.Get("test")), Caller: p.callerAddr(r)}
	for i := range entries {
		d.Rows = append(d.Rows, row{Entry: strings.TrimSpace(entries[i]), Label: strings.TrimSpace(labels[i])})
	}
	return d, nil
}

// draftOf makes a draft of a stored list.
func (p *Page) draftOf(r *http.Request, entries []ipallow.Entry) *draft {
	d := &draft{Caller: p.callerAddr(r)}
	for _, e := range entries {
		d.Rows = append(d.Rows, row{Entry: short(e.Prefix), Label: e.Label})
	}
	return d
}

// list returns the rows that are not empty, and the row that each came from.
func (d *draft) list() (list []manage.ListEntry, at []int) {
	for i, r := range d.Rows {
		if r.Entry != "" || r.Label != "" {
			list = append(list, manage.ListEntry{Entry: r.Entry, Label: r.Label})
			at = append(at, i)
		}
	}
	return list, at
}

// check puts the faults and warnings beside their rows. It returns the list's
// entries, or nil and false if there is a fault.
func (p *Page) check(d *draft) ([]ipallow.Entry, bool) {
	list, at := d.list()
	texts := make([]ipallow.EntryText, len(list))
	for i, e := range list {
		texts[i] = ipallow.EntryText{Entry: e.Entry, Label: e.Label}
	}
	d.Faults, d.Joined, d.Known = nil, nil, d.contains(d.Caller)
	for i := range d.Rows {
		d.Rows[i].Faults, d.Rows[i].Warning = nil, ""
	}
	entries, err := p.Policy.ParseEntries(texts)
	if err != nil {
		d.blame(err, at)
		if len(list) > p.Policy.MaxEntries {
			policy := p.Policy
			policy.MaxEntries = len(list)
			if all, err := policy.ParseEntries(texts); err == nil {
				d.Joined = p.join(all)
			}
		}
		return nil, false
	}
	d.warn(ipallow.Warnings(entries), at)
	return entries, true
}

// contains reports whether a row that is an entry contains addr, whatever is
// wrong with others.
func (d *draft) contains(addr netip.Addr) bool {
	return slices.ContainsFunc(d.Rows, func(r row) bool {
		e, err := ipallow.ParseEntry(r.Entry)
		return err == nil && ipallow.Compile([]ipallow.Entry{e}).Contains(addr)
	})
}

// blame puts the faults of err beside their rows. It reports whether err is
// about the list.
func (d *draft) blame(err error, at []int) bool {
	_, ve := manage.Faults(err)
	if ve == nil {
		return false
	}
	for _, e := range ve.Entries {
		if e.Index < 0 || e.Index >= len(at) {
			d.Faults = append(d.Faults, sentence(e.Reason))
			continue
		}
		f := fault{Text: sentence(e.Reason)}
		switch e.Code {
		case ipallow.CodeDuplicate:
			// The engine counts entries from 0, the page rows from 1, and
			// passes over empty ones.
			f.Text = "It is in the list already. Remove one of the two."
			if e.First < len(at) {
				f.Text = "It is in the list already, in row " + strconv.Itoa(at[e.First]+1) + ". Remove one of the two."
			}
		case ipallow.CodeLabelInvalid, ipallow.CodeLabelTooLong:
		default:
			if e.Suggestion != "" {
				f.Try = e.Suggestions
			} else {
				f.All = e.Suggestions
			}
		}
		r := &d.Rows[at[e.Index]]
		r.Faults = append(r.Faults, f)
	}
	return true
}

func (d *draft) warn(warnings []ipallow.Warning, at []int) {
	for _, w := range warnings {
		if w.Index < len(at) && w.By < len(at) {
			d.Rows[at[w.Index]].Warning = "Row " + strconv.Itoa(at[w.By]+1) + ", " + d.Rows[at[w.By]].Entry +
				", covers it already. You can remove it."
		}
	}
}

// Faulty returns the number of rows with faults.
func (d *draft) Faulty() (n int) {
	for _, r := range d.Rows {
		if len(r.Faults) > 0 {
			n++
		}
	}
	return n
}

// FirstFaulty returns the first row with a fault, from 0.
func (d *draft) FirstFaulty() int {
	return slices.IndexFunc(d.Rows, func(r row) bool { return len(r.Faults) > 0 })
}

// split puts the networks that a row stands for in its place.
func (d *draft) split(i int) {
	r := d.Rows[i]
	for _, f := range r.Faults {
		if len(f.All) == 0 {
			continue
		}
		var rows []row
		for _, entry := range f.All {
			rows = append(rows, row{Entry: entry, Label: r.Label, New: true})
		}
		rows[0].Focus = true
		d.Rows = slices.Replace(d.Rows, i, i+1, rows...)
		return
	}
}

// add appends a row, in the place of empty ones at the end.
func (d *draft) add(entry, label string) *row {
	for n := len(d.Rows); n > 0 && d.Rows[n-1].Entry == "" && d.Rows[n-1].Label == ""; n-- {
		d.Rows = d.Rows[:n-1]
	}
	d.Rows = append(d.Rows, row{Entry: entry, Label: label, New: true})
	return &d.Rows[len(d.Rows)-1]
}

// apply does what a button of the rows asks for, and reports whether it was
// one of them. Saving is not.
func (p *Page) apply(d *draft, action string) bool {
	verb, arg, _ := strings.Cut(action, ":")
	switch verb {
	case "row":
		d.Rows = append(d.Rows, row{Focus: true})
	case "remove":
		if i, err := strconv.Atoi(arg); err == nil && i >= 0 && i < len(d.Rows) {
			d.Rows = slices.Delete(d.Rows, i, i+1)
		}
		d.Focus = "rows"
	case "use":
		at, entry, _ := strings.Cut(arg, ":")
		if i, err := strconv.Atoi(at); err == nil && i >= 0 && i < len(d.Rows) {
			d.Rows[i].Entry, d.Rows[i].Focus = entry, true
		}
	case "split":
		p.check(d)
		if i, err := strconv.Atoi(arg); err == nil && i >= 0 && i < len(d.Rows) {
			d.split(i)
		}
	case "addr":
		d.addAll(arg)
	case "paste":
		p.paste(d)
	case "clear":
		d.Rows, d.Focus = nil, "rows"
	case "join":
		if p.check(d); d.Joined != nil {
			d.Rows = d.Joined.rows
		}
		d.Focus = "rows"
	case "check":
		d.Focus = "rows"
	case "test":
		d.Focus = "test"
	default:
		return false
	}
	entries, ok := p.check(d)
	if verb == "test" {
		d.Result = p.try(d, entries, ok)
	}
	return true
}

// paste adds the pasted lines as rows.
func (p *Page) paste(d *draft) {
	lines := pastedLines(d.Paste)
	switch {
	case len(lines) == 0:
		d.PasteFault, d.Focus = "There is no line to add. Write one entry per line, followed by its label.", "paste"
		return
	case len(d.Rows)+len(lines) > p.maxRows():
		d.PasteFault, d.Focus = "These are too many lines at once, so none was added. "+limits(p.Policy), "paste"
		return
	}
	for i, l := range lines {
		d.add(l.Entry, l.Label).Focus = i == 0
	}
	d.Paste = ""
}

// try tells what the list of the draft would do to the address of the draft.
func (p *Page) try(d *draft, entries []ipallow.Entry, ok bool) *trial {
	t := &trial{Addr: d.Test}
	addr, err := netip.ParseAddr(d.Test)
	switch {
	case d.Test == "":
		t.Fault = "Write an address to test, such as 203.0.113.5 or 2001:db8::1."
		return t
	case err != nil:
		t.Fault = "That is not an IP address. Write a single one, such as 203.0.113.5 or 2001:db8::1."
		return t
	case !ok:
		t.Fault = "Correct the list first: a list with a fault cannot be saved, so it decides nothing."
		return t
	}
	policy := p.Policy
	engine := ipallow.New(&ipallow.Options{Policy: &policy})
	if err := engine.Set("draft", entries); err != nil {
		t.Fault = sentence(err.Error())
		return t
	}
	x := engine.Explain("draft", addr)
	t.Addr, t.OK, t.Open = x.Addr.String(), x.Verdict.OK(), x.Verdict == ipallow.Unrestricted
	if x.Matched {
		_, at := d.list()
		t.Row, t.Entry, t.Label = at[x.Index]+1, short(x.Entry.Prefix), x.Entry.Label
	}
	t.Addable = !t.OK
	return t
}
