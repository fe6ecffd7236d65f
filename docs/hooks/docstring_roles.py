"""Docstrings name other objects as Sphinx does; the site is of markdown."""
import re

import griffe

ROLE = re.compile(r':(?:class|func|meth|mod|attr|data|math|ref):`~?([^`]+)`')


class DocstringRoles(griffe.Extension):
    """Makes `name` of :class:`name`, and of :math:`formula` code as well."""

    def on_instance(self, *, obj, **kwargs):
        """Change the docstring of each object once it has been read."""
        if obj.docstring:
            text = ROLE.sub(
                lambda m: f'`{m[1].lstrip(".")}`', obj.docstring.value)
            # the only name under which griffe knows this section
            obj.docstring.value = re.sub(
                r'^( *)Example:$', r'\1Examples:', text, flags=re.M)
