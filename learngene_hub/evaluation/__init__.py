"""Does a gene help? Descendants, training from scratch and baselines on the same tasks, images, steps and seeds.

Every start is trained on every task. The weights that are not inherited, the batches and their augmentation are equal
for all starts of a task. The starts differ in what they inherit, and in their learning rate: the best one for each on
held-out classes. With one rate for all, the start that this rate happens to suit would win.
"""
