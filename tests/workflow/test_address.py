"""Addresses of repositories."""

from __future__ import annotations

import pytest

from libecs.errors import InvalidInput
from libecs.workflow.address import Transport, parse_address


@pytest.mark.parametrize(
    ("text", "name", "transport", "revision", "url"),
    [
        ("site.com/user/repo", "site.com/user/repo", "HTTPS", "", "https://site.com/user/repo.git"),
        ("site.com/user/repo.git", "site.com/user/repo", "HTTPS", "", "https://site.com/user/repo.git"),
        ("site.com/user/repo@rev", "site.com/user/repo", "HTTPS", "rev", "https://site.com/user/repo.git"),
        ("site.com/group/sub/repo/", "site.com/group/sub/repo", "HTTPS", "", "https://site.com/group/sub/repo.git"),
        ("site.com:user/repo@v1", "site.com:user/repo", "SSH", "v1", "git@site.com:user/repo.git"),
        ("/srv/git/repo", "/srv/git/repo", "FOLDER", "", "/srv/git/repo"),
        ("./repo@main", "./repo", "FOLDER", "main", "./repo"),
    ],
)
def test_an_address_says_how_to_reach_a_repository(
    text: str, name: str, transport: str, revision: str, url: str
) -> None:
    address = parse_address(text)

    assert (address.name, address.transport, address.revision) == (name, Transport[transport], revision)
    assert address.url == url


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("site.com/path", "needs three parts"),
        ("site.com:repo", "needs three parts"),
        ("site.com/user/repo@a@b", "more than one revision"),
        ("site.com/user/repo@", "no revision behind"),
        ("site.com/user/repo@--upload-pack=x", "no revision behind"),
        ("ext::sh -c id", "is no host/user/repository"),
        ("-x/user/repo", "is no host/user/repository"),
        ("site.com/../repo", "is no host/user/repository"),
        ("site.com//repo", "is no host/user/repository"),
        ("site/user/repo", "'site' is no host"),
        ("", "is no host/user/repository"),
    ],
)
def test_what_is_no_address_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse_address(text)
