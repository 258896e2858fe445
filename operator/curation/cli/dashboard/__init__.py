"""`kubectl curation dashboard`: a page on 127.0.0.1, with the person's own rights and nothing more.

`command` starts it, `server` guards every request, `feed` follows the cluster, `rows` and `details` say what of an
object is shown, `static/` is the page.
"""
