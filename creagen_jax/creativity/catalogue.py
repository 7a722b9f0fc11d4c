"""What each axis and each metric means: its definition, its source and what to beware of."""

from __future__ import annotations

from typing import Literal, NamedTuple

# The items that an axis scores 0 and 1, in words.
SCALES = {
    "quality": ("noise", "real data"),
    "novelty": ("training copies", "held-out data"),
    "diversity": ("one item repeated", "real data"),
}


class Metric(NamedTuple):
    """One row of the metric table."""

    title: str
    axis: str  # an axis, or "privacy"
    unit: str  # "" for shares and other pure numbers; "units" are those of the report
    better: Literal["higher", "lower", "one", ""]  # "one": as near to 1 as possible; "": neither
    definition: str
    caveat: str


def metric(name: str) -> Metric:
    """The entry of a name; a name that is not in METRICS stands for itself."""
    return METRICS.get(name, Metric(name, "other", "", "", "", ""))


def _distinct(n: int, grams: str) -> Metric:
    return Metric(
        f"Distinct-{n}",
        "diversity",
        "",
        "higher",
        f"Different {grams} among all {grams} of the generated items (Li et al., 2016).",
        "It falls as the text grows: compare equal amounts of text only.",
    )


def _distinct_ratio(n: int) -> Metric:
    return Metric(
        f"Distinct-{n}, relative",
        "diversity",
        "",
        "one",
        f"Distinct-{n} over that of as much held-out text.",
        "Noise can score above 1.",
    )


def _bleu(n: int) -> Metric:
    return Metric(
        f"BLEU-{n}",
        "quality",
        "",
        "higher",
        f"Mean BLEU of each item, with n-grams of 1 to {n} tokens, against all held-out items "
        "(Papineni et al., 2002; smoothing 1 of Chen and Cherry, 2014; as in Zhu et al., 2018).",
        "It rises with the number of held-out items, and one good item repeated scores high.",
    )


def _self_bleu(n: int) -> Metric:
    return Metric(
        f"Self-BLEU-{n}",
        "diversity",
        "",
        "lower",
        f"Mean BLEU of each item, with n-grams of 1 to {n} tokens, against all others "
        "(Zhu et al., 2018).",
        "It rises with the number of items: compare equal numbers only. Noise scores lowest.",
    )


def _par(test: str, what: str) -> Metric:
    return Metric(
        f"Par in {test}",
        "quality",
        "",
        "one",
        f"Twice the chance that {what} than in a real text: the area under the ROC curve, "
        "doubled (Hanley and McNeil, 1982).",
        "Above 1 is no merit: copies and platitudes are more regular than real texts.",
    )


def _likeness(side: str, beware: str) -> Metric:
    return Metric(
        f"Par in likeness{side and ', '}{side}",
        "quality",
        "",
        "one",
        "Twice the chance that a generated item is nearer to real items than another real item is: "
        "the area under the ROC curve, doubled (Hanley and McNeil, 1982).",
        beware,
    )


def _neighbours(space: str, sees: str) -> Metric:
    return Metric(
        f"Held-out-neighbour rate, {space}",
        "novelty",
        "",
        "one",
        "How often the nearest real item of a generated one is held-out rather than training data, "
        "against their sizes; a share e of copies gives 1 - e "
        "(after the nearest-neighbour tests of Xu et al., 2018, and Yale et al., 2020).",
        sees,
    )


METRICS = {
    # --- quality ---
    "spelling_par": _par("spelling", "characters are likelier in a generated text"),
    "phrases_par": _par("phrases", "words are likelier, after the words before them,"),
    "unknown_par": _par("known words", "words unknown to the training data are fewer"),
    "repetition_par": _par("repetition", "repeated n-grams are fewer"),
    "forward_cross_entropy": Metric(
        "Forward cross-entropy",
        "quality",
        "nats/character",
        "lower",
        "How well a Kneser-Ney n-gram model of the training data predicts the generated items "
        "(forward perplexity of Zhao et al., 2018, as a logarithm).",
        "Repetition and copies score below held-out data, so lower is better only down to there.",
    ),
    "backward_cross_entropy": Metric(
        "Backward cross-entropy",
        "quality",
        "nats/character",
        "lower",
        "How well a Kneser-Ney n-gram model of the generated items predicts held-out data "
        "(reverse perplexity of Zhao et al., 2018, as a logarithm).",
        "It needs as much generated as training text for a fair comparison.",
    ),
    "mauve": Metric(
        "MAUVE",
        "quality",
        "",
        "higher",
        "Area under the divergence frontier of generated and held-out items, quantised by k-means "
        "(Pillutla et al., 2021).",
        "The seed of k-means moves it as much as many published differences do; below 1,000 items "
        "it says little.",
    ),
    "repetition": Metric(
        "Repetition",
        "quality",
        "",
        "lower",
        "Share of an item's n-grams that occurred earlier in the same item "
        "(seq-rep-n of Welleck et al., 2020).",
        "Held-out data repeat as well: compare with them, not with 0.",
    ),
    "precision": Metric(
        "Precision",
        "quality",
        "",
        "higher",
        "Share of generated items within the k-nearest-neighbour balls of real ones "
        "(Kynkäänniemi et al., 2019).",
        "Copies of training data score as high as held-out data.",
    ),
    "precision_ratio": Metric(
        "Precision, relative",
        "quality",
        "",
        "one",
        "Precision over that of as many held-out items.",
        "Copies of training data score 1; above 1 the items huddle where real ones are many.",
    ),
    "likeness_par": _likeness(
        "", "Above 1 is no merit: blends of real items and platitudes are nearer than real ones."
    ),
    "likeness_par_frames": _likeness(
        "frames", "It knows the frames of a clip, and nothing of their order."
    ),
    "likeness_par_motion": _likeness(
        "motion",
        "It knows what changes from each frame to the next: clips whose frames were shuffled stand "
        "among the anchors, and must score clearly less.",
    ),
    "label_accuracy": Metric(
        "Label accuracy",
        "quality",
        "",
        "higher",
        "Share of items that a classifier of the training data reads as the class that was asked "
        "for (GAN-test of Shmelkov et al., 2018).",
        "The classifier errs on real items, too: compare with its accuracy on held-out data. A "
        "model that repeats one easy item of each class scores 1.",
    ),
    "label_accuracy_ratio": Metric(
        "Label accuracy, relative",
        "quality",
        "",
        "one",
        "Label accuracy over that of the same classifier on held-out data.",
        "Above 1 is no merit: the items are easier to read than real ones.",
    ),
    "recall_at_10": Metric(
        "Caption recall at 10",
        "quality",
        "",
        "higher",
        "Share of held-out captions whose own picture is among the 10 nearest of all, as a model "
        "sees it that has learnt which caption is of which picture (Radford et al., 2021; Karpathy "
        "and Fei-Fei, 2015).",
        "More captions make it harder: compare at the same number, and with real pictures.",
    ),
    "recall_at_10_shuffled": Metric(
        "Caption recall at 10, shuffled",
        "quality",
        "",
        "",
        "The same of real pictures that each belong to another caption.",
        "It must be about chance, 10 over the number of captions; if not, the judge is at fault.",
    ),
    "recall_at_10_times_chance": Metric(
        "Caption recall at 10 over chance",
        "quality",
        "times",
        "higher",
        "Caption recall at 10 over that of pictures in random order.",
        "It grows with the number of captions.",
    ),
    "recall_at_10_of_real": Metric(
        "Caption recall at 10, relative",
        "quality",
        "",
        "one",
        "Caption recall at 10 over that of the real pictures of the same captions.",
        "Above 1 is no merit: the pictures are plainer than real ones.",
    ),
    "exact_match": Metric(
        "Exact match",
        "quality",
        "",
        "higher",
        "Share of outputs that equal a reference.",
        "An output that is as good in other words counts as wrong.",
    ),
    "token_accuracy": Metric(
        "Token accuracy",
        "quality",
        "",
        "higher",
        "Share of positions that hold the token of the reference.",
        "A token too many shifts all behind it: read the error rate beside it.",
    ),
    "error_rate": Metric(
        "Error rate",
        "quality",
        "",
        "lower",
        "Tokens to be put in, left out or replaced to make the nearest reference of each output, "
        "over the tokens of these references (Levenshtein, 1966); of pronunciations the phoneme "
        "error rate.",
        "It can be above 1, and it knows no tokens that are nearly right.",
    ),
    "word_error": Metric(
        "Word error rate",
        "quality",
        "",
        "lower",
        "Share of outputs that equal no reference; of pronunciations the word error rate.",
        "It is 1 minus the exact match.",
    ),
    "chrf": Metric(
        "chrF",
        "quality",
        "of 100",
        "higher",
        "F2 score of n-grams of 1 to 6 characters of all outputs and their references "
        "(Popović, 2015).",
        "It sees form, not meaning, and no two languages compare.",
    ),
    "bleu": Metric(
        "BLEU",
        "quality",
        "of 100",
        "higher",
        "Precision of n-grams of 1 to 4 words of all outputs in their references, with a penalty "
        "for short ones (Papineni et al., 2002; Post, 2018).",
        "It compares between systems on the same references and words only.",
    ),
    "heldout_forward": Metric(
        "Forward cross-entropy, held-out",
        "quality",
        "nats/token",
        "lower",
        "How well a Kneser-Ney n-gram model of the held-out items predicts the generated ones "
        "(after the language model score of Caccia et al., 2018).",
        "Platitudes score below real items: read it beside backward cross-entropy.",
    ),
    "heldout_backward": Metric(
        "Backward cross-entropy, held-out",
        "diversity",
        "nats/token",
        "lower",
        "How well a Kneser-Ney n-gram model of the generated items predicts the held-out ones "
        "(after the reverse score of Caccia et al., 2018).",
        "It falls as the generated items get more: compare equal numbers only.",
    ),
    **{f"bleu_{n}": _bleu(n) for n in range(2, 6)},
    "density": Metric(
        "Density",
        "quality",
        "",
        "one",
        "How many balls of real items hold a generated one, against the number expected "
        "(Naeem et al., 2020).",
        "Items that huddle around the mean score above 1.",
    ),
    "frechet": Metric(
        "Fréchet distance",
        "quality",
        "",
        "lower",
        "Squared distance of Gaussians fitted to generated and to held-out features "
        "(Dowson and Landau, 1982; Heusel et al., 2017).",
        "It grows as the items get fewer: compare equal numbers only.",
    ),
    "frechet_infinite": Metric(
        "Fréchet distance, extrapolated",
        "quality",
        "",
        "lower",
        "The Fréchet distance at an infinite number of items, from its line over 1/N "
        "(Chong and Forsyth, 2020).",
        "An extrapolation; around 0 it may be negative.",
    ),
    "frechet_relative": Metric(
        "Fréchet distance, relative",
        "quality",
        "",
        "one",
        "The Fréchet distance of generated items over that of as many training items, both to "
        "held-out data.",
        "Copies of training data score 1.",
    ),
    "kid": Metric(
        "Kernel distance (KID)",
        "quality",
        "",
        "lower",
        "Unbiased squared maximum mean discrepancy with a cubic kernel (Bińkowski et al., 2018).",
        "Around 0 it may be negative.",
    ),
    # --- novelty ---
    "heldout_neighbour_rate_match": Metric(
        "Held-out-neighbour rate, text",
        "novelty",
        "",
        "one",
        "How often the longest match of a generated item is with held-out rather than training "
        "text, against their sizes; a share e of copies gives 1 - e "
        "(after the nearest-neighbour tests of Xu et al., 2018, and Yale et al., 2020).",
        "It tells whether particular training items were memorised, not whether the style is: "
        "noise scores 1. Read it beside quality.",
    ),
    "heldout_neighbour_rate_features": _neighbours(
        "features", "It sees only what the features see."
    ),
    "heldout_neighbour_rate_pixels": _neighbours(
        "pixels", "It sees copies of pixels; a copy that was shifted or mirrored may escape it."
    ),
    "heldout_neighbour_rate_network": _neighbours(
        "random network", "It sees texture and layout as an untrained network does."
    ),
    "heldout_neighbour_rate_domain": _neighbours(
        "trained network", "It sees what a network trained on other items of this kind tells apart."
    ),
    "heldout_neighbour_rate_user": _neighbours(
        "own features", "It sees only what the given features see."
    ),
    "heldout_neighbour_p": Metric(
        "Permutation test of memorisation",
        "novelty",
        "",
        "",
        "Probability of a held-out-neighbour rate this low if training and held-out items were "
        "exchanged at random.",
        "A large p is no proof that nothing is copied.",
    ),
    "creativity_index": Metric(
        "Creativity Index",
        "novelty",
        "",
        "higher",
        "Mean over L of the share of text outside any span of L or more that the training data "
        "hold verbatim (Lu et al., 2024).",
        "Held-out data score below 1 as well, since languages share phrases; noise scores 1.",
    ),
    "creativity_ratio": Metric(
        "Creativity Index, relative",
        "novelty",
        "",
        "one",
        "The Creativity Index over that of held-out data.",
        "Noise scores above 1.",
    ),
    "near_duplicates": Metric(
        "Near-duplicates",
        "novelty",
        "",
        "lower",
        "Share of generated items nearer to one training item, against its surroundings, than all "
        "but a small quantile of held-out items (after Carlini et al., 2023).",
        "By construction held-out data score that quantile, not 0.",
    ),
    "originality_ratio": Metric(
        "Originality, relative",
        "novelty",
        "",
        "one",
        "Share of items that are no near-duplicates, over that of held-out items.",
        "It sees near copies only, not whether all items lie a little too near.",
    ),
    "authenticity": Metric(
        "Authenticity",
        "novelty",
        "",
        "",
        "Share of generated items farther from the nearest training item than that is from its own "
        "nearest neighbour (Alaa et al., 2022).",
        "Held-out data score about one half and noise 1: read it beside its anchors only.",
    ),
    "copying_ct": Metric(
        "Data-copying test C_T",
        "novelty",
        "z",
        "",
        "Whether generated items lie nearer to training items than held-out items do, as a z score "
        "over cells (Meehan et al., 2020); far below 0 means copying.",
        "Noise lies far from 0, and a noisy copy can score as held-out data do.",
    ),
    "longest_span_median": Metric(
        "Longest copied span, median",
        "novelty",
        "units",
        "",
        "Length of the longest part of an item that the training data hold verbatim, in the median "
        "item (McCoy et al., 2023).",
        "It grows with the training data: compare with held-out data.",
    ),
    "longest_span_max": Metric(
        "Longest copied span, largest",
        "novelty",
        "units",
        "lower",
        "The same in the item that copies most.",
        "A single item decides it.",
    ),
    "exact_copies": Metric(
        "Exact copies",
        "novelty",
        "",
        "lower",
        "Share of generated items that the training data hold as a whole.",
        "Short items, such as names, recur by right: compare with held-out data.",
    ),
    "extraction_rate": Metric(
        "Extraction rate",
        "novelty",
        "",
        "lower",
        "Share of training passages that the model completes word for word when given their "
        "beginning (Carlini et al., 2023).",
        "It asks the model, not its samples; common phrases are completed without memory.",
    ),
    "loss_gap": Metric(
        "Generalisation gap",
        "novelty",
        "nats/token",
        "lower",
        "Loss on held-out data minus loss on training data.",
        "Over-fitting, which is not yet copying.",
    ),
    "membership_auc": Metric(
        "Membership inference",
        "novelty",
        "",
        "lower",
        "Probability that a training item has a lower loss than a held-out one "
        "(loss attack of Yeom et al., 2018); 0.5 tells nothing.",
        "Stronger attacks exist.",
    ),
    # --- diversity ---
    "coverage": Metric(
        "Coverage",
        "diversity",
        "",
        "higher",
        "Share of real items with a generated one in their k-nearest-neighbour ball "
        "(Naeem et al., 2020).",
        "With fewer generated than real items even held-out data do not reach 1.",
    ),
    "coverage_ratio": Metric(
        "Coverage, relative",
        "diversity",
        "",
        "one",
        "Coverage over that of as many held-out items.",
        "Copies of training data score 1.",
    ),
    "recall": Metric(
        "Recall",
        "diversity",
        "",
        "higher",
        "Share of real items within the k-nearest-neighbour balls of generated ones "
        "(Kynkäänniemi et al., 2019).",
        "Noise can score 1, since its balls are huge: prefer coverage.",
    ),
    "vendi": Metric(
        "Vendi score",
        "diversity",
        "items",
        "higher",
        "The effective number of different items: exponential of the entropy of the eigenvalues "
        "of their similarities (Friedman and Dieng, 2023).",
        "Noise can score highest, and it depends on the number of items.",
    ),
    "vendi_ratio": Metric(
        "Vendi score, relative",
        "diversity",
        "",
        "one",
        "The Vendi score over that of as many held-out items.",
        "Noise can score above 1.",
    ),
    "distinct_1": _distinct(1, "tokens"),
    "distinct_2": _distinct(2, "pairs of tokens"),
    "distinct_3": _distinct(3, "triples of tokens"),
    "distinct_1_ratio": _distinct_ratio(1),
    "distinct_2_ratio": _distinct_ratio(2),
    "distinct_3_ratio": _distinct_ratio(3),
    "ead_2": Metric(
        "Expectation-adjusted distinct-2",
        "diversity",
        "",
        "higher",
        "Different pairs of tokens against the number expected of random text of this length "
        "(Liu et al., 2022).",
        "Real text is not random: compare with held-out data.",
    ),
    "self_bleu": Metric(
        "Self-BLEU",
        "diversity",
        "",
        "lower",
        "Mean BLEU of each item against all others (Zhu et al., 2018; smoothing 1 of Chen and "
        "Cherry, 2014).",
        "It rises with the number of items: compare equal numbers only.",
    ),
    **{f"self_bleu_{n}": _self_bleu(n) for n in range(2, 6)},
    "distinct_texts": Metric(
        "Distinct items",
        "diversity",
        "",
        "higher",
        "Share of items that remain when equal ones count once.",
        "Short items, such as names, recur by right: compare with real ones.",
    ),
    "mode_distance": Metric(
        "Mode distance",
        "diversity",
        "",
        "lower",
        "Total variation between the shares of generated and of real items in k-means cells "
        "(cells of Richardson and Weiss, 2018).",
        "Few items a cell differ by chance alone.",
    ),
    "class_distance": Metric(
        "Class distance",
        "diversity",
        "",
        "lower",
        "Total variation between the shares of classes that a classifier reads in generated and in "
        "real items (after the modes that Srivastava et al., 2017, count by a classifier).",
        "It knows no variety within a class, and few items differ by chance alone.",
    ),
    # --- privacy ---
    "leaked": Metric(
        "Leaked personal data",
        "privacy",
        "hits",
        "lower",
        "E-mail addresses, numbers of cards and the like that stand verbatim in more than five "
        "training documents.",
        "Found by patterns and check digits: names and addresses are not seen.",
    ),
    "rare": Metric(
        "Leaked and rare personal data",
        "privacy",
        "hits",
        "lower",
        "The same in one to five training documents (k-eidetic memorisation of "
        "Carlini et al., 2021).",
        "Whether one of them is worse than many of the others is for a person to judge.",
    ),
    "invented": Metric(
        "Invented personal data",
        "privacy",
        "hits",
        "",
        "The same in no training document.",
        "An invented number may still belong to somebody.",
    ),
}
