"""The site can be built without a warning, and asks nobody for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.docs.markdown import ROOT, pages


def test_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    built = {path.relative_to(tmp_path / "site").as_posix() for path in tmp_path.rglob("*.html")}
    sources = [page.path.removeprefix("docs/") for page in pages() if page.path.startswith("docs/")]
    assert {source.replace(".md", ".html") for source in sources} <= built
    for name in built:
        html = (tmp_path / "site" / name).read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe)[^>]+src=\"([^\"]+)\"", html)
        fetched += re.findall(
            r"<link[^>]+rel=\"(?:stylesheet|preconnect|icon)\"[^>]*href=\"([^\"]+)\"", html
        )
        assert fetched
        assert not [address for address in fetched if "://" in address], name
