"""What mkdocs does not do by itself; named under `hooks` in mkdocs.yml.

The pages in docs/ link to files outside of docs/: configs, their READMEs,
scripts. A site that is read offline cannot link into a repository, so each
such file becomes a page of the site, and the links point there.

A line `REFERENCE package` becomes the docstrings of all that the package
exports.
"""
import ast
import os
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[2]
FOLDER = 'source'  # of the pages that are made here
# [text](target#anchor), no image, and no address
LINK = re.compile(r'(?<!!)\[(?P<text>[^\]]*)\]\((?P<path>[^)\s:#]+)'
                  r'(?P<anchor>#[^)\s]*)?\)')
REFERENCE = re.compile(r'^REFERENCE (\S+)$', re.M)
LEXERS = {'.py': 'python', '.sh': 'bash', '.yml': 'yaml', '.json': 'json'}


def on_files(files, config):
    """Add README.md as the home page, and all files that pages link to."""
    pages = {'index.md': ROOT / 'README.md'}
    waiting = [ROOT / 'README.md',
               *(Path(f.abs_src_path) for f in files.documentation_pages()
                 if f.src_uri.endswith('.md'))]
    while waiting:
        source = waiting.pop()
        for match in LINK.finditer(_read(source)):
            target = _outside(source, match['path'])
            if target and _page_of(target) not in pages:
                pages[_page_of(target)] = target
                if target.suffix == '.md':
                    waiting.append(target)
    added = [
        File.generated(
            config, uri, content=_page(source),
            # only links lead to these, no menu
            inclusion=InclusionLevel.INCLUDED if uri == 'index.md'
            else InclusionLevel.NOT_IN_NAV)
        for uri, source in sorted(pages.items())]
    config['extra']['source_of'] = {f.src_uri: pages[f.src_uri] for f in added}
    return Files([*files, *added])


def on_page_markdown(markdown, page, config, files):
    """Point links outside of docs/ at the pages made of these files, and
    name what a package exports."""
    markdown = REFERENCE.sub(
        lambda m: '\n\n'.join(f'::: {name}' for name in exported(m[1])),
        markdown)
    uri = page.file.src_uri
    source = config['extra']['source_of'].get(uri, ROOT / 'docs' / uri)

    def rewrite(match):
        target = (source.parent / match['path']).resolve()
        if not target.exists() or ROOT not in (target, *target.parents):
            return match[0]  # a wrong link: mkdocs says so
        to = _page_of(target)
        path = posixpath.relpath(to, posixpath.dirname(uri) or '.')
        return f'[{match["text"]}]({path}{match["anchor"] or ""})'

    return LINK.sub(rewrite, markdown)


def exported(package):
    """The full names of what a package exports, read without importing it.

    They stand in its `__all__`, or in the table of what it imports lazily.
    """
    path = ROOT / package.replace('.', '/') / '__init__.py'
    for node in ast.parse(_read(path)).body:
        if not isinstance(node, ast.Assign):
            continue
        if isinstance(node.value, ast.List):
            names = dict.fromkeys(ast.literal_eval(node.value), package)
        elif isinstance(node.value, ast.Call):  # lazy_names(__name__, {…})
            table = ast.literal_eval(node.value.args[1])
            names = {name: f'{package}.{module}'
                     for module, names in table.items() for name in names}
        else:
            continue
        return [f'{names[name]}.{name}'
                for name in sorted(names, key=str.lower)]
    raise ValueError(f'{path} names nothing that {package} exports.')


def _read(source):
    return source.read_text(encoding='utf-8')


def _outside(source, path):
    """The file outside of docs/ that a link means, or None."""
    target = (source.parent / path).resolve()
    inside = ROOT / 'docs' in target.parents
    known = ROOT in target.parents and target != ROOT / 'README.md'
    return target if known and not inside and target.exists() else None


def _page_of(target):
    """The page of a file: of docs/ itself, else one that is made here."""
    if target == ROOT / 'README.md':
        return 'index.md'
    if ROOT / 'docs' in target.parents:
        return target.relative_to(ROOT / 'docs').as_posix()
    path = target.relative_to(ROOT).as_posix()
    return f'{FOLDER}/{path}' if path.endswith('.md') else \
        f'{FOLDER}/{path}.md'


def _page(source):
    """The text of a page: markdown as it is, anything else as code."""
    if source.suffix == '.md':
        return _read(source)
    name = source.relative_to(ROOT).as_posix()
    if source.is_dir():
        entries = '\n'.join(f'- `{e}`' for e in sorted(os.listdir(source)))
        return f'# {name}/\n\n{entries}\n'
    fence = '````'
    return (f'# {name}\n\n{fence}{LEXERS.get(source.suffix, "text")}\n'
            f'{_read(source).rstrip()}\n{fence}\n')
