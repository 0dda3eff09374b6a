package ipallow_test

import (
	"bytes"
	"flag"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/api.txt anew")

// TestPublicAPI compares every exported identifier of the package, with its type, with
// testdata/api.txt. A change of that file is a change of what other people's programs call.
// After one that is meant: go test -run TestPublicAPI -update .
func TestPublicAPI(t *testing.T) {
	got := publicAPI(t, ".")
	golden := filepath.Join("testdata", "api.txt")
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "the public API has changed")
}

// publicAPI returns the exported declarations of the package in dir, one a line.
func publicAPI(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		// The two forms of a file under a build constraint declare the same: one is enough.
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, f)
	}
	pkg, err := doc.NewFromFiles(fset, files, "github.com/ipallow/ipallow")
	require.NoError(t, err)
	var lines []string
	value := func(v *doc.Value) {
		for _, s := range v.Decl.Specs {
			spec := s.(*ast.ValueSpec)
			for _, n := range spec.Names {
				if n.IsExported() {
					lines = append(lines, v.Decl.Tok.String()+" "+n.Name)
				}
			}
		}
	}
	fn := func(f *doc.Func) {
		f.Decl.Doc, f.Decl.Body = nil, nil
		lines = append(lines, oneLine(t, fset, f.Decl))
	}
	for _, v := range append(pkg.Consts, pkg.Vars...) {
		value(v)
	}
	for _, f := range pkg.Funcs {
		fn(f)
	}
	for _, typ := range pkg.Types {
		spec := typ.Decl.Specs[0].(*ast.TypeSpec)
		lines = append(lines, "type "+spec.Name.Name)
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, field := range s.Fields.List {
				for _, n := range field.Names {
					if n.IsExported() {
						lines = append(lines, "field "+spec.Name.Name+"."+n.Name+" "+oneLine(t, fset, field.Type))
					}
				}
			}
		}
		for _, v := range append(typ.Consts, typ.Vars...) {
			value(v)
		}
		for _, f := range append(typ.Funcs, typ.Methods...) {
			fn(f)
		}
	}
	// Files with and without a build tag may both have a method.
	seen := map[string]bool{}
	var b strings.Builder
	for _, l := range lines {
		if !seen[l] {
			seen[l] = true
			b.WriteString(l + "\n")
		}
	}
	return b.String()
}

func oneLine(t *testing.T, fset *token.FileSet, node any) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, printer.Fprint(&b, fset, node))
	return strings.Join(strings.Fields(b.String()), " ")
}
