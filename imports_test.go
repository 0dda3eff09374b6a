package ipallow_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/ipallow/ipallow"

// layers are the packages of the module from the lowest up: one may import only those of layers
// below its own, and those that it is nested with. What is not named here belongs to the layer of
// the nearest directory above it.
var layers = []map[string]bool{
	{"internal/canon": true, "internal/naive": true, "internal/filelock": true, "internal/can386": true},
	{"internal/index": true, "internal/entrytext": true, "internal/gen": true},
	{".": true},
	{"clientip": true, "conformance": true, "listfile": true, "usagelog": true},
	{"httpallow": true},
}

// owners says which packages may import what is to be in one place only.
var owners = map[string][]string{
	"github.com/gaissmai/bart":        {"internal/index"},
	"github.com/hashicorp/golang-lru": {"internal/index"},
	"unsafe":                          {"internal/index", "clientip"},
}

// TestImports holds the direction of imports inside the module, as docs/design.md has it. Tests
// may import what they like.
func TestImports(t *testing.T) {
	t.Parallel()
	checked := 0
	for file, imports := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") || moduleOf(t, file) != "." {
			continue
		}
		dir := path.Dir(file)
		for _, imported := range imports {
			checked++
			for what, allowed := range owners {
				if imported == what || strings.HasPrefix(imported, what+"/") {
					require.Contains(t, allowed, dir, "%s imports %s", file, imported)
				}
			}
			if to, ours := strings.CutPrefix(imported+"/", module+"/"); ours {
				to = path.Clean(to)
				nested := dir != "." && strings.HasPrefix(to, dir+"/") || to != "." && strings.HasPrefix(dir, to+"/")
				require.True(t, nested || layer(t, to) < layer(t, dir), "%s imports %s, which is of a layer above", file, imported)
			}
		}
	}
	require.Greater(t, checked, 100, "imports were found")
}

// TestInternalStaysInItsModule: modules are released apart, so one that reached into another's
// internal packages could be broken by a release of that. Tests are built from the same tree, but
// are downloaded and vetted with their module: they may not either.
func TestInternalStaysInItsModule(t *testing.T) {
	t.Parallel()
	modules := map[string]bool{}
	for file, imports := range goFiles(t) {
		from := moduleOf(t, file)
		modules[from] = true
		for _, imported := range imports {
			to, ours := strings.CutPrefix(imported, module+"/")
			at := strings.Index(to+"/", "internal/")
			if !ours || at < 0 {
				continue
			}
			require.Equal(t, from, moduleOf(t, to+"/x.go"), "%s imports %s of another module", file, imported)
		}
	}
	require.Greater(t, len(modules), 3, "nested modules were found")
}

// copies are the packages of which other modules have a copy.
var copies = map[string][]string{
	"internal/gen/workload.go":          {"benchmarks/internal/workload/workload.go", "cmd/internal/workload/workload.go"},
	"internal/filelock/filelock.go":     {"natsfeed/internal/filelock/filelock.go"},
	"internal/filelock/lock_flock.go":   {"natsfeed/internal/filelock/lock_flock.go"},
	"internal/filelock/lock_other.go":   {"natsfeed/internal/filelock/lock_other.go"},
	"internal/filelock/lock_windows.go": {"natsfeed/internal/filelock/lock_windows.go"},
}

// TestCopies: what modules copy, since they cannot share it, is the same in each.
func TestCopies(t *testing.T) {
	t.Parallel()
	code := func(file string) string {
		text, err := os.ReadFile(filepath.FromSlash(file))
		require.NoError(t, err)
		_, after, found := strings.Cut(string(text), "\nimport ")
		if !found {
			after = string(text)
		}
		return after
	}
	for original, list := range copies {
		for _, copied := range list {
			require.Equal(t, code(original), code(copied), "%s is no copy of %s any more", copied, original)
		}
	}
}

// TestOneCanonicaliser: an address that is unmapped in one place and not in another is on a list and
// off it. What the modules above spell for themselves is tested against the engine's.
func TestOneCanonicaliser(t *testing.T) {
	t.Parallel()
	spelling := regexp.MustCompile(`\.Unmap\(\)|\.Masked\(\)|\.WithZone\(""\)`)
	found := 0
	for file := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "internal/gen/") {
			continue
		}
		text, err := os.ReadFile(filepath.FromSlash(file))
		require.NoError(t, err)
		allowed := moduleOf(t, file) != "."
		if strings.Contains(string(text), `Unmap().WithZone("")`) {
			found++
			allowed = file == "cmd/internal/canon/canon.go"
		}
		if path.Dir(file) != "internal/canon" && !allowed {
			require.Empty(t, spelling.FindString(string(text)), "%s: use internal/canon", file)
		}
	}
	require.Equal(t, 2, found, "the canonicaliser, and its copy for the programs")
}

// layer returns the layer of the package in dir.
func layer(t *testing.T, dir string) int {
	t.Helper()
	for d := dir; ; d = path.Dir(d) {
		for i, l := range layers {
			if l[d] && (d != "." || dir == ".") {
				return i
			}
		}
		if d == "." {
			t.Fatalf("%s is of no layer: say in layers what it may import", dir)
		}
	}
}

// goFiles returns the import paths of every Go file of the tree, by its path from here.
func goFiles(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	require.NoError(t, filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && name != ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		imports := []string{}
		for _, s := range f.Imports {
			text, err := strconv.Unquote(s.Path.Value)
			if err != nil {
				return err
			}
			imports = append(imports, text)
		}
		slices.Sort(imports)
		files[filepath.ToSlash(name)] = imports
		return nil
	}))
	return files
}

// moduleOf returns the directory of the module that a file belongs to.
func moduleOf(t *testing.T, file string) string {
	t.Helper()
	for dir := path.Dir(file); ; dir = path.Dir(dir) {
		if _, err := os.Stat(filepath.Join(filepath.FromSlash(dir), "go.mod")); err == nil {
			return dir
		}
		require.NotEqual(t, ".", dir)
	}
}
