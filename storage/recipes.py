"""Recipes under their hash, which one is current for a product, and the frozen sets that batches pin."""

import hashlib
from collections.abc import Mapping

import orjson
from sqlalchemy import Connection, select

from pipelines.errors import InputRefused
from pipelines.recipe import Recipe, recipe_from_json, recipe_to_json
from storage.database import database_now
from storage.schema import product as product_table
from storage.schema import recipe as recipe_table
from storage.schema import recipe_set
from storage.upsert import insert_new, insert_or_update


def save_recipe(connection: Connection, recipe: Recipe) -> str:
    """Keep a recipe under its hash, which it gives. Saving it again only updates where its memory lies."""
    row = {
        "hash": recipe.hash,
        "product": recipe.product,
        "body": recipe_to_json(recipe),
        "created_at": database_now(connection),
    }
    insert_or_update(connection, recipe_table, row, key=["hash"], kept=["created_at"])
    return recipe.hash


def load_recipe(connection: Connection, recipe_hash: str) -> Recipe | None:
    """The recipe of this hash. Raises ``ValueError`` if its stored body no longer has it."""
    found = select(recipe_table.c.body).where(recipe_table.c.hash == recipe_hash)
    body = connection.execute(found).scalar_one_or_none()
    return None if body is None else _checked(recipe_hash, body)


def list_recipes(connection: Connection, product: str) -> tuple[str, ...]:
    """Hashes of a product's recipes, the newest first."""
    newest_first = (recipe_table.c.created_at.desc(), recipe_table.c.hash)
    found = select(recipe_table.c.hash).where(recipe_table.c.product == product).order_by(*newest_first)
    return tuple(connection.execute(found).scalars())


def find_recipes(connection: Connection, prefix: str) -> tuple[str, ...]:
    """Hashes that begin so, at most ten of them; what is no hexadecimal finds none."""
    if not prefix or set(prefix) - set("0123456789abcdef"):
        return ()
    begins = recipe_table.c.hash.startswith(prefix)
    found = select(recipe_table.c.hash).where(begins).order_by(recipe_table.c.hash).limit(10)
    return tuple(connection.execute(found).scalars())


def set_current(connection: Connection, product: str, recipe_hash: str) -> None:
    """Inspect this product by this recipe from the next planned batch on.

    Raises:
        InputRefused: There is no such recipe, or it is another product's.
    """
    _require_products(connection, {product: recipe_hash})
    row = {"name": product, "recipe": recipe_hash, "changed_at": database_now(connection)}
    insert_or_update(connection, product_table, row, key=["name"])


def current_recipes(connection: Connection) -> dict[str, str]:
    """{product: hash of its current recipe}."""
    found = select(product_table.c.name, product_table.c.recipe).order_by(product_table.c.name)
    return dict(connection.execute(found).all())


def freeze_set(connection: Connection, recipes: Mapping[str, str] | None = None) -> int:
    """The id of the frozen set {product: hash}, by default the current recipes; equal sets have one id.

    Raises:
        InputRefused: A hash is unknown or another product's.
    """
    if recipes is None:
        recipes = current_recipes(connection)
    else:
        _require_products(connection, recipes)
    body = dict(sorted(recipes.items()))
    digest = hashlib.sha256(orjson.dumps(body)).hexdigest()
    insert_new(connection, recipe_set, {"hash": digest, "body": body, "created_at": database_now(connection)})
    found = select(recipe_set.c.id).where(recipe_set.c.hash == digest)
    return int(connection.execute(found).scalar_one())


def load_set(connection: Connection, set_id: int) -> dict[str, Recipe]:
    """A frozen set's recipes by product.

    Raises:
        KeyError: The id was never given.
        ValueError: A stored recipe no longer has its hash.
    """
    body = connection.execute(select(recipe_set.c.body).where(recipe_set.c.id == set_id)).scalar_one_or_none()
    if body is None:
        raise KeyError(f"recipe set {set_id}")
    found = select(recipe_table.c.hash, recipe_table.c.body).where(recipe_table.c.hash.in_(body.values()))
    recipes = {key: _checked(key, each) for key, each in connection.execute(found)}
    return {product: recipes[key] for product, key in body.items()}


def _checked(recipe_hash: str, body: object) -> Recipe:
    recipe = recipe_from_json(body)
    if recipe.hash != recipe_hash:
        raise ValueError(f"recipe {recipe_hash}: its stored body has the hash {recipe.hash}")
    return recipe


def _require_products(connection: Connection, recipes: Mapping[str, str]) -> None:
    found = select(recipe_table.c.hash, recipe_table.c.product).where(
        recipe_table.c.hash.in_(recipes.values())
    )
    products = dict(connection.execute(found).all())
    for product, key in recipes.items():
        if key not in products:
            raise InputRefused(f"recipe {key}: not stored; import it first")
        if products[key] != product:
            raise InputRefused(f"recipe {key}: made for {products[key]!r}, not for {product!r}")
