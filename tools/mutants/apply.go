package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// apply returns the changed files of m by their paths below root.
func apply(root string, m *mutation) (map[string]string, error) {
	changed := make(map[string]string)
	for _, e := range m.edits {
		path := filepath.Join(root, m.files, e.file)
		src, ok := changed[path]
		if !ok {
			b, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("%s: there is no %s%s", e.at, filepath.Join(m.files, e.file), elsewhere(root, e.before))
			}
			src = string(b)
		}
		at, n := findLines(src, e.before)
		switch n {
		case 0:
			return nil, fmt.Errorf("%s: %s has no such lines%s:\n%s",
				e.at, filepath.Join(m.files, e.file), elsewhere(root, e.before), indent(e.before))
		case 1:
			changed[path] = src[:at] + e.after + src[at+len(e.before):]
		default:
			return nil, fmt.Errorf("%s: %s has these lines %d times; give more lines around them:\n%s",
				e.at, filepath.Join(m.files, e.file), n, indent(e.before))
		}
	}
	return changed, nil
}

// findLines returns where whole lines are in src, and how many times.
func findLines(src, lines string) (at, n int) {
	for from := 0; ; {
		i := strings.Index(src[from:], lines)
		if i < 0 {
			return at, n
		}
		i += from
		if from = i + 1; i == 0 || src[i-1] == '\n' {
			at = i
			n++
		}
	}
}

// elsewhere says which other files of the tree have the lines: code that was moved
// takes its mutations with it by hand, since tests may have moved too.
func elsewhere(root, lines string) string {
	var found []string
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		if b, err := os.ReadFile(path); err == nil {
			if _, n := findLines(string(b), lines); n > 0 {
				rel, _ := filepath.Rel(root, path)
				found = append(found, rel)
			}
		}
		return nil
	})
	if len(found) == 0 {
		return ""
	}
	return "; they are in " + strings.Join(found, ", ") + " now: correct \"files:\" or \"file:\""
}

// checkNames reports names of m that no test of its package has.
func checkNames(root string, m *mutation) error {
	var src strings.Builder
	files, _ := filepath.Glob(filepath.Join(root, m.pkg, "*_test.go"))
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		src.Write(b)
	}
	for _, name := range m.tests {
		if !regexp.MustCompile(`(?m)^func ` + name + `\(`).MatchString(src.String()) {
			return fmt.Errorf("%s: %s has no test %s", m.at, m.pkg, name)
		}
	}
	return nil
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n    ")
}
