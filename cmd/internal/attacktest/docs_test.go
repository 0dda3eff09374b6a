package attacktest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// testsOf returns the names of the tests and fuzz targets of a package, which docs/security.md
// names by the last element of its path.
func testsOf(t *testing.T, name string) map[string]bool {
	t.Helper()
	var files []string
	for _, parent := range []string{"cmd/internal", "cmd", "cmd/ipallowd", "internal", "."} {
		some, err := filepath.Glob(filepath.Join("../../..", parent, name, "*_test.go"))
		require.NoError(t, err)
		files = append(files, some...)
	}
	if name == "ipallow" { // the engine, beside the command of this name
		some, err := filepath.Glob("../../../*_test.go")
		require.NoError(t, err)
		files = append(files, some...)
	}
	require.NotEmpty(t, files, "docs/security.md names the package %s, which is not there", name)
	found := map[string]bool{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && regexp.MustCompile(`^(Test|Fuzz)[A-Z]`).MatchString(f.Name.Name) {
				found[f.Name.Name] = true
			}
		}
	}
	return found
}

var (
	attackRow = regexp.MustCompile(`^\| (\d+) \| [^|]+ \| [^|]+ \| ([^|]+) \|$`)
	testName  = regexp.MustCompile("`([a-z]+)\\.((?:Test|Fuzz)\\w+)`")
)

// TestDocs: every attack and every limit in docs/security.md names tests that
// exist, and every test here is named.
func TestDocs(t *testing.T) {
	b, err := os.ReadFile("../../../docs/security.md")
	require.NoError(t, err)
	named := map[string]map[string]bool{}
	rows := 0
	for _, line := range strings.Split(string(b), "\n") {
		row := attackRow.FindStringSubmatch(line)
		if row != nil {
			rows++
			require.Equal(t, strconv.Itoa(rows), row[1], "the rows are numbered")
			require.Regexp(t, testName, row[2], line)
		}
		for _, m := range testName.FindAllStringSubmatch(line, -1) {
			if named[m[1]] == nil {
				named[m[1]] = map[string]bool{}
			}
			named[m[1]][m[2]] = true
		}
	}
	require.GreaterOrEqual(t, rows, 40)
	for name, tests := range named {
		exist := testsOf(t, name)
		for test := range tests {
			require.True(t, exist[test], "docs/security.md names %s.%s, which is not there", name, test)
		}
	}
	for test := range testsOf(t, "attacktest") {
		require.True(t, test == "TestDocs" || named["attacktest"][test], "docs/security.md does not name %s", test)
	}
}
