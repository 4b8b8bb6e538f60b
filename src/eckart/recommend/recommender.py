"""`LowRankRecommender`: the recommender as one Python object."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from inspect import Parameter, Signature
from os import PathLike
from typing import Any, final

from eckart.arguments import check_flag
from eckart.arrays import Array
from eckart.errors import ArgumentError
from eckart.recommend.attribute_tables import AttributeTables
from eckart.recommend.chunked import TableLike
from eckart.recommend.columns import ColumnNames
from eckart.recommend.evaluation import SplitMethod
from eckart.recommend.fit import Fitting, fit_recommender
from eckart.recommend.folding import Addition, add_interactions, remove_user
from eckart.recommend.interaction_tables import read_interactions
from eckart.recommend.model import Model
from eckart.recommend.predictions import Explanation, explain, predict_pairs
from eckart.recommend.settings import Feedback, Settings
from eckart.recommend.storing import load_model, save_model
from eckart.recommend.top import RankedList, similar_items, top_items
from eckart.solvers import Step


@final
class LowRankRecommender:
    """Recommend items to users, from ratings or from what they bought, heard or clicked.

    W is users × items and most of its entries are unknown; the known ones are factored, and B·A
    predicts the others. Ids of any type go in and come out; the model keeps the interactions, so no
    answer needs them again.

    Args:
        rank: Number of columns of B; lowered to the number of users or items if there are fewer.
        regularization: λ, the weight of the penalty; None lets `fit` choose it on a validation
            part.
        count_exponent: ν: the penalty of a user or item with n entries grows with n^ν.
        unobserved_weight: α, the weight with which unobserved entries count as zeros; only without
            ratings. None is 0.1.
        implicit_features: Weight of the pattern of rated items, which is fitted beside the ratings.
        nonnegative: Whether factors must be nonnegative.
        attribute_weight: Weight of the squared error of each attribute, beside an interaction.
        method: als, cholesky, blocks, gd, or gibbs for predictions with a standard deviation.
        epochs: Number of sweeps over both sides; None takes the default of the method.
        implicit: Whether only the fact of an interaction counts; None decides by whether there are
            ratings.
        at_least: The lowest rating that counts as an interaction; lower ones are left out.
        disliked: The highest rating that counts as a dislike, a zero with the weight of an
            interaction; needs `implicit` or `at_least`.
        scale: The lowest and the highest rating; None takes those of the data.
        columns: Names of the columns by role: user, item, rating, weight, time; others are found.
        seed: Seed of everything random; it gives the same bits on any number of threads.

    Raises:
        ArgumentError: If a setting is out of its range.

    Example:
        >>> ratings = {
        ...     "user": ["ann", "ann", "bob", "bob", "cid", "cid"],
        ...     "item": ["tea", "jam", "tea", "rye", "jam", "rye"],
        ...     "rating": [5, 4, 5, 1, 4, 2],
        ... }
        >>> model = LowRankRecommender(rank=1, regularization=0.1).fit(ratings)
        >>> [line.item for line in model.recommend("ann").lines]
        ['rye']
    """

    __signature__ = Signature(
        [
            Parameter("rank", Parameter.POSITIONAL_OR_KEYWORD, default=Settings().rank),
            *(
                Parameter(one.name, Parameter.KEYWORD_ONLY, default=one.default)
                for one in (*fields(Settings)[1:], *fields(Feedback))
            ),
            Parameter("columns", Parameter.KEYWORD_ONLY, default=None),
        ]
    )

    def __init__(
        self, rank: int = Settings().rank, *, columns: dict[str, str] | None = None, **settings: Any
    ) -> None:
        names = {one.name for one in fields(Feedback)}
        feedback = {name: settings.pop(name) for name in names & settings.keys()}
        self.settings = Settings(rank=rank, **settings)
        self._feedback = Feedback(**feedback)
        # checked at construction, like every other argument
        self._named = ColumnNames.of({} if columns is None else columns)
        self._model: Model | None = None
        self.fitting: Fitting | None = None
        self.addition: Addition | None = None

    def fit(
        self,
        interactions: TableLike,
        *,
        user_ids: Sequence[object] | None = None,
        item_ids: Sequence[object] | None = None,
        user_attributes: TableLike = None,
        item_attributes: TableLike = None,
        test: SplitMethod | None = None,
        k: int = 10,
        on_step: Callable[[Step], None] | None = None,
    ) -> "LowRankRecommender":
        """Fit a model to interactions; an earlier fit is discarded.

        Args:
            interactions: A path, a Polars, pandas or Arrow table, a mapping of columns, or a SciPy
                sparse matrix of users × items.
            user_ids: Ids of the rows of a sparse matrix; by default their numbers.
            item_ids: Ids of its columns; by default their numbers.
            user_attributes: Attributes of users: a path, a table or a mapping, with a column of
                ids. Numbers are standardised, text and truth values become one indicator for each
                category. Users in it are known, also without interactions.
            item_attributes: Attributes of items, in one of these forms.
            test: How a test part is taken, for a second model that is evaluated on it: random, last
                or users. The figures are in `fitting.evaluation`.
            k: Length of the lists that are evaluated.
            on_step: Called with every step of the final fit.

        Raises:
            MatrixError: If a rating is NaN or off the scale, or an id is missing.
        """
        # read first: `fit_recommender` takes no ids for the rows of a sparse matrix
        data = read_interactions(
            interactions, self._named, self._feedback, user_ids=user_ids, item_ids=item_ids
        )
        self.fitting = fit_recommender(
            data,
            feedback=self._feedback,
            named=self._named,
            attributes=AttributeTables(users=user_attributes, items=item_attributes),
            settings=self.settings,
            test=test,
            k=k,
            on_step=on_step,
        )
        self._model = self.fitting.model
        return self

    @property
    def model(self) -> Model:
        """The fitted model.

        Raises:
            ArgumentError: If `fit` was not called.
        """
        if self._model is None:
            raise ArgumentError(
                "This recommender is not fitted.", hint="Call fit first.", code="not-fitted"
            )
        return self._model

    def predict(self, users: TableLike, items: TableLike, *, clip: bool = True) -> Array:
        """Predict the rating of each pair; a user or item may be unknown.

        Args:
            users: Ids of users.
            items: Ids of items, one for each user.
            clip: Whether predictions are kept within the scale of the ratings.
        """
        pairs = {"user": users, "item": items}
        return predict_pairs(self.model, pairs, clip=check_flag("clip", clip)).predicted

    def recommend(
        self,
        user: object,
        k: int = 10,
        *,
        seen: bool = False,
        only: Iterable[object] | None = None,
        without: Iterable[object] | None = None,
    ) -> RankedList:
        """The k best items of a user without those seen; the most popular for an unknown user."""
        (found,) = top_items(self.model, [user], k, seen=seen, only=only, without=without)
        return found

    def recommend_all(
        self, users: Sequence[object] | None = None, k: int = 10, **filters: Any
    ) -> list[RankedList]:
        """The k best items of several users, or of all."""
        chosen = self.model.data.users.to_list() if users is None else users
        return top_items(self.model, chosen, k, **filters)

    def similar(self, item: object, k: int = 10) -> RankedList:
        """The k items most similar to one."""
        return similar_items(self.model, item, k)

    def explain(self, user: object, item: object) -> Explanation:
        """Explain the score of an item for a user by what each item of the user's history adds."""
        return explain(self.model, user, item)

    def partial_fit(
        self,
        interactions: TableLike = None,
        *,
        user_ids: Sequence[object] | None = None,
        item_ids: Sequence[object] | None = None,
        user_attributes: TableLike = None,
        item_attributes: TableLike = None,
    ) -> "LowRankRecommender":
        """Add new interactions, users and items without a new fit; the history is kept.

        Notes for the user are in `addition.notes`.

        Args:
            interactions: New interactions, as `fit` takes them; None adds attributes only.
            user_ids: Ids of the rows of a sparse matrix; by default their numbers.
            item_ids: Ids of its columns; by default their numbers.
            user_attributes: Attributes of new users, or of known ones, which they replace.
            item_attributes: Attributes of new items, or of known ones, which they replace.

        Raises:
            MatrixError: If a rating is NaN or off the scale, an id is missing, or the model was
                fitted without attributes.
        """
        if self._model is None:
            return self.fit(
                interactions,
                user_ids=user_ids,
                item_ids=item_ids,
                user_attributes=user_attributes,
                item_attributes=item_attributes,
            )
        self.addition = add_interactions(
            self._model,
            interactions,
            self._named,
            attributes=AttributeTables(users=user_attributes, items=item_attributes),
            user_ids=user_ids,
            item_ids=item_ids,
        )
        self._model = self.addition.model
        return self

    def remove(self, user: object) -> "LowRankRecommender":
        """Remove a user from the model."""
        self._model = remove_user(self.model, user)
        return self

    def save(self, path: str | PathLike[str], *, force: bool = False) -> None:
        """Write the model to a folder of safetensors, Parquet and JSON files."""
        save_model(self.model, path, force=force)

    @staticmethod
    def load(path: str | PathLike[str]) -> "LowRankRecommender":
        """Read a model from its folder; `fit` then uses the settings that it was made with."""
        model = load_model(path)
        kept = model.document
        # what was asked for, not what was chosen: a new fit chooses λ again
        made = LowRankRecommender(**kept.get("asked", kept.get("settings", {})))
        made._named = ColumnNames.of(kept.get("columns", {}))
        made._feedback = Feedback.of_dict(kept.get("feedback", {}))
        made._model = model
        return made
